"""Sums of limited accuracy: why FP8 products are promoted to fp32 every 128 (DeepSeek-V3 §3.3.2).

Hopper's tensor cores sum a step of 32 FP8 products at the exponent of the largest of them, keeping 14 bits of each
and cutting off the rest; the result joins what was summed before in the same way. So a small addend loses its low
bits, always toward zero, and the error grows with K: at K = 4,096 the paper saw nearly 2%. Promotion moves the sum to
an fp32 register every 128, so that it never grows far above its addends.

A model of the hardware for study: it holds all products of 32 columns at once and runs a thousand times slower than
a plain product. Left out: any hardware's documented order of sums; there is none.

Shapes: M, N rows of the operands, K the side that is summed over, J the addends of one step.
"""

import torch
from torch import Tensor

from deepseek_lab.precision.backend import Product

STEP = 32
"""Columns that one instruction of the tensor core sums (K of Hopper's FP8 wgmma)."""

BITS = 14
PROMOTED_EVERY = 128
_ROWS_AT_ONCE = 1 << 22
"""Addends held at once: bounds the memory of a step to some tens of MB."""


def truncating_sum(addends_MNJ: Tensor) -> Tensor:
    """Σ_J at the exponent of the largest addend, each addend cut to 14 bits there: (M, N, J) -> (M, N)."""
    _, exponent = torch.frexp(addends_MNJ.abs().amax(-1, keepdim=True))
    unit = torch.ldexp(torch.ones_like(addends_MNJ[..., :1]), exponent - BITS)
    return ((addends_MNJ / unit).trunc_().sum(-1, keepdim=True) * unit).squeeze(-1)


def limited_product(promoted: bool) -> Product:
    """A product (M, K)·(N, K)ᵀ whose sums have 14 bits, promoted to fp32 every 128 or never."""

    def product(a_MK: Tensor, b_NK: Tensor) -> Tensor:
        rows = max(1, _ROWS_AT_ONCE // (b_NK.shape[0] * STEP))
        return torch.cat([_rows_product(a_K, b_NK, promoted) for a_K in a_MK.split(rows)])

    return product


def _rows_product(a_MK: Tensor, b_NK: Tensor, promoted: bool) -> Tensor:
    total = a_MK.new_zeros(a_MK.shape[0], b_NK.shape[0])
    running = torch.zeros_like(total)
    for start in range(0, a_MK.shape[1], STEP):
        if promoted and start % PROMOTED_EVERY == 0:
            total, running = total + running, torch.zeros_like(running)
        a_MJ, b_NJ = a_MK[:, start : start + STEP], b_NK[:, start : start + STEP]
        step_MN = truncating_sum(a_MJ[:, None] * b_NJ[None])
        running = truncating_sum(torch.stack((running, step_MN), dim=-1))
    return total + running
