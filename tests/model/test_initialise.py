"""Fresh weights: the standard deviation asked for in every matrix, ones in norms, zeros in biases."""

import pytest
import torch

from tests.model.tiny import config, grouped


@pytest.mark.parametrize("std", [0.006, 0.02])
def test_every_matrix_has_the_asked_standard_deviation(std):
    torch.manual_seed(0)
    model = config(grouped(2, qkv_bias=True), "moe", 1, dim=128, init_std=std).build()
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            drawn = parameter.numel() ** -0.5  # sampling error of mean/std, and half that of std/std
            assert parameter.mean().abs() < 5 * std * drawn, name
            assert parameter.std().item() == pytest.approx(std, rel=5 * drawn), name
        else:
            assert torch.equal(parameter, torch.full_like(parameter, not name.endswith("bias"))), name
    assert all(torch.equal(router.selection_bias_E, torch.zeros(8)) for router in model.routers())


def test_a_tied_head_is_drawn_once():
    torch.manual_seed(0)
    tied = config(tie_embeddings=True, n_layers=1).build()
    torch.manual_seed(0)
    untied = config(n_layers=1).build()
    assert torch.equal(tied.embedding.weight, untied.embedding.weight)
    assert torch.equal(tied.blocks[0].attention.wo.weight, untied.blocks[0].attention.wo.weight)
