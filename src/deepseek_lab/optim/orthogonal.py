"""The nearest orthogonal matrix, by Newton-Schulz: what Muon makes of a momentum.

X ← aX + (bA + cA²)X with A = XXᵀ, five times from X = M / ‖M‖, drives all singular values of M towards 1 and keeps
its singular vectors (Jordan et al. 2024). The quintic's coefficients are chosen for speed near 0, not for a limit of
1: singular values end between about 0.7 and 1.2, which is as good for an update.

Many matrices of one shape are one batch. Matrix products are the cost: bf16 on a GPU, where Muon's authors found it
enough; fp32 elsewhere. Left out: SVD, which is exact and far slower.
"""

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
EPS = 1e-7


def orthogonalised(matrices_NRC: Tensor, steps: int) -> Tensor:
    """(N, R, C) -> (N, R, C) in the same dtype: near U·Vᵀ of each matrix U·S·Vᵀ; a matrix of zeros stays one."""
    x = matrices_NRC.bfloat16() if matrices_NRC.is_cuda else matrices_NRC
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(EPS)
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices_NRC.dtype)
