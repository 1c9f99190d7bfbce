"""Weights that stay in e4m3 with scales of 128×128 blocks, and are widened strip by strip as they are multiplied.

For using a model that would not fit otherwise: a quarter of fp32's memory, half of bf16's, and one strip more while a
product runs. The products are those of the widened weights in the activations' dtype; nothing else is rounded. Scales
are kept for each row, so that matrices of several published parts (gate above up), whose blocks begin anew in each,
need no further rule: 3 % more memory.

Left out: gradients of the weights, and products of FP8 operands (`linear`, `grouped`: training in FP8).

Shapes: N rows, O output width, I input width, C = ceil(I/128) scales a row, E experts.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_lab.precision.quantise import Rounding, store
from deepseek_lab.seams import GroupedMatmul

BLOCK = 128
STRIP = 8 * BLOCK
"""Rows that are widened at a time."""
NARROW = torch.float8_e4m3fn
_HOW = Rounding(f"{BLOCK}x{BLOCK}")


def narrowed(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """(O, I) -> the same in e4m3, and the fp32 scales of its blocks (ceil(O/128), ceil(I/128))."""
    stored = store(weight_OI.detach(), _HOW)
    assert stored.scale is not None, "blocks have scales"
    return stored.values[: weight_OI.shape[0], : weight_OI.shape[1]], stored.scale.to(torch.float32)


def scales_of_rows(scale_RC: Tensor, n_rows: int, rows: int = BLOCK) -> Tensor:
    """(R, C) scales of blocks of so many rows -> (n_rows, C)."""
    return scale_RC.repeat_interleave(rows, 0)[:n_rows]


def widened(narrow_OI: Tensor, scale_OC: Tensor, dtype: torch.dtype) -> Tensor:
    """(O, I) e4m3 and (O, C) fp32 -> q·s, multiplied in fp32 and rounded once to `dtype`."""
    wide = scale_OC.repeat_interleave(BLOCK, 1)[:, : narrow_OI.shape[1]]
    return wide.mul_(narrow_OI.float()).to(dtype)


def stored_product(x_NI: Tensor, narrow_OI: Tensor, scale_OC: Tensor) -> Tensor:
    """(…, I) -> (…, O): x·Wᵀ, a strip of W at a time."""
    strips = zip(narrow_OI.split(STRIP), scale_OC.split(STRIP), strict=True)
    return torch.cat([F.linear(x_NI, widened(narrow, scale, x_NI.dtype)) for narrow, scale in strips], dim=-1)


class StoredLinear(nn.Module):
    """An `nn.Linear` of these sizes without numbers yet; fill `narrow_OI` and `scale_OC`."""

    narrow_OI: Tensor
    scale_OC: Tensor
    bias: nn.Parameter | None

    def __init__(self, like: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        n_out, n_in = like.weight.shape
        self.dtype = dtype
        device = like.weight.device
        self.register_buffer("narrow_OI", torch.empty(n_out, n_in, dtype=NARROW, device=device))
        self.register_buffer("scale_OC", torch.empty(n_out, -(-n_in // BLOCK), device=device))
        self.register_parameter("bias", like.bias)

    @property
    def weight(self) -> Tensor:
        """(O, I), widened whole: for the few who read a matrix and not only multiply by it (absorbed MLA)."""
        return widened(self.narrow_OI, self.scale_OC, self.dtype)

    def forward(self, x_NI: Tensor) -> Tensor:
        """(…, I) -> (…, O)."""
        y_NO = stored_product(x_NI, self.narrow_OI, self.scale_OC)
        return y_NO if self.bias is None else y_NO + self.bias


class StoredGroupedMatmul(GroupedMatmul):
    """Experts' matrices in e4m3, as the parameter that the model names; their scales are held here."""

    scale_EOC: Tensor

    def __init__(self, weight_EOI: Tensor) -> None:
        super().__init__()
        n_experts, n_out, n_in = weight_EOI.shape
        shape = (n_experts, n_out, -(-n_in // BLOCK))
        self.register_buffer("scale_EOC", torch.empty(shape, device=weight_EOI.device))

    def forward(self, x_ND: Tensor, weight_EOD: Tensor, offsets_E: Tensor) -> Tensor:
        """As the plain one; only the matrices of experts that have rows are widened."""
        ends: list[Any] = offsets_E.tolist()
        y = x_ND.new_empty(x_ND.shape[0], weight_EOD.shape[1])
        for expert, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if end > start:
                y[start:end] = stored_product(x_ND[start:end], weight_EOD[expert], self.scale_EOC[expert])
        return y
