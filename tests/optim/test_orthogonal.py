"""Newton-Schulz against the SVD in float64: the singular vectors are kept, the singular values come near 1."""

import pytest
import torch

from deepseek_lab.optim.orthogonal import orthogonalised


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 20), (2, 20, 6), (1, 1, 5)])
def test_singular_vectors_stay_and_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    out = orthogonalised(matrices, steps=5).double()
    u, _, vt = torch.linalg.svd(matrices.double(), full_matrices=False)
    inner = u.mT @ out @ vt.mT
    singular = inner.diagonal(dim1=-2, dim2=-1)
    assert 0.6 < float(singular.min()) <= float(singular.max()) < 1.25
    torch.testing.assert_close(inner, torch.diag_embed(singular), rtol=0, atol=1e-4)


def test_a_batch_is_its_matrices_one_by_one_and_scale_plays_no_role():
    torch.manual_seed(0)
    matrices = torch.randn(4, 5, 7)
    one_by_one = torch.cat([orthogonalised(matrix[None] * 1e3, steps=5) for matrix in matrices])
    torch.testing.assert_close(orthogonalised(matrices, steps=5), one_by_one, rtol=1e-4, atol=1e-5)


def test_zeros_stay_zeros():
    assert orthogonalised(torch.zeros(1, 3, 4), steps=5).abs().sum() == 0
