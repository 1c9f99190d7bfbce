"""Rounded operands held in one byte and multiplied by tensor cores (`torch.nn.functional.scaled_mm`).

* 1×128 and 128×128 scales: Hopper, cuBLAS 12.9 or newer
* one scale a row or a tensor: compute capability 8.9 or newer (and a CPU, slowly)

Sums are promoted by cuBLAS (`use_fast_accum=False`), results of bf16 leave the product, gradients of weights in fp32.
The rounded weight is not kept from forward to backward: it is rounded again from the master, which a sharded model
has let go in between. The copy behind attention (E5M6) waits in bf16, which holds its numbers exactly.

Left out: one grouped product for all experts, which torch has for other scales and other cards only: each expert's
rows are multiplied in turn, and their numbers are read from the device.

Shapes: M, N rows of the two operands, K the side that is summed over, E experts.
"""

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from deepseek_lab.precision.operands import How, Operands
from deepseek_lab.precision.quantise import Quantised, quantise, restore, store

KINDS_OF_SCALE = {
    "1x128": F.ScalingType.BlockWise1x128,
    "128x128": F.ScalingType.BlockWise128x128,
    "row": F.ScalingType.RowWise,
    "tensor": F.ScalingType.TensorWise,
}
_WHOLE = 16
"""The kernels want N and K in multiples of this."""

_SCALES_AT_ONCE = 4
"""cuBLAS reads the scales of 128×128 blocks along K in fours."""


class Native:
    """See the module."""

    keeps_weight = False

    def quantise(self, operands: Operands, kind: str, x: Tensor, how: How) -> Quantised:
        """See `Backend.quantise`."""
        assert how is not None, "bf16 is native without a backend"
        if how.form.dtype is None:
            emulated = quantise(x, how)
            result = Quantised(emulated.values.bfloat16(), None, emulated.amax)
        else:
            result = store(x, how)
        operands.note(kind, x, result)
        return result

    def restore(self, x: Quantised) -> Tensor:
        """See `Backend.restore`."""
        return x.values.float() if x.scale is None else restore(x)

    def product(self, a: Quantised, b: Quantised, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        """See `Backend.product`."""
        n_rows = b.values.shape[0]
        a, b = _whole_sums(a), _whole_rows(_whole_sums(b))
        assert a.tile is not None, "stored operands have tiles"
        assert b.tile is not None, "stored operands have tiles"
        y_MN: Tensor = F.scaled_mm(
            a.values.contiguous(),
            b.values.contiguous().t(),
            scale_for_kernel(a),
            KINDS_OF_SCALE[a.tile],
            scale_for_kernel(b, is_second=True),
            KINDS_OF_SCALE[b.tile],
            output_dtype=dtype,
        )
        return y_MN[:, :n_rows]

    def grouped(self, x: Quantised, weight: Quantised, ends_E: Tensor) -> Tensor:
        """See `Backend.grouped`."""
        parts = [
            self.product(_rows(x, start, end), _matrix(weight, expert))
            for expert, (start, end) in enumerate(_spans(ends_E))
            if end > start
        ]
        return torch.cat(parts)

    def grouped_outer(self, y: Quantised, x: Quantised, ends_E: Tensor) -> Tensor:
        """See `Backend.grouped_outer`."""
        sums_END = torch.zeros(
            ends_E.shape[0], y.values.shape[1], x.values.shape[1], dtype=torch.float32, device=y.values.device
        )
        for expert, (start, end) in enumerate(_spans(ends_E)):
            if end > start:
                y_rows, x_rows = _rows(y, start, end).t(), _rows(x, start, end).t()
                sums_END[expert] = self.product(y_rows, x_rows, torch.float32)
        return sums_END


def scale_for_kernel(x: Quantised, is_second: bool = False) -> Tensor:
    """The scales in the layout that the kernel reads; `is_second` of b, whose matrix is passed transposed.

    1×128: (rows, K/128), rows next to each other in memory. 128×128: (K/128 rounded up to fours, rows/128), K next
    to each other. Row: (M, 1) or (1, N). Tensor: one number.
    """
    assert x.scale is not None, "stored operands have scales"
    if x.tile == "1x128":
        return x.scale.t().contiguous().t()
    if x.tile == "128x128":
        return F.pad(x.scale, (0, -x.scale.shape[1] % _SCALES_AT_ONCE), value=1.0).contiguous().t()
    if x.tile == "row":
        return x.scale.flatten()[None] if is_second else x.scale.flatten()[:, None]
    return x.scale.reshape(1)


def _whole_sums(x: Quantised) -> Quantised:
    """K padded to what the kernels take; a tile of 128 has done it already."""
    missing = -x.values.shape[1] % _WHOLE
    return x if missing == 0 else Quantised(_pad(x.values, missing, 0), x.scale, None, x.tile)


def _whole_rows(x: Quantised) -> Quantised:
    """Rows padded to what the kernels take of the second operand."""
    missing = -x.values.shape[0] % _WHOLE
    if missing == 0:
        return x
    scale = x.scale
    if scale is not None and x.tile in ("1x128", "row"):
        scale = F.pad(scale, (0, 0, 0, missing), value=1.0)
    return Quantised(_pad(x.values, 0, missing), scale, None, x.tile)


def _pad(values: Tensor, columns: int, rows: int) -> Tensor:
    """Zeros to the right and below; torch pads no FP8, so its bytes are padded."""
    return F.pad(values.contiguous().view(torch.uint8), (0, columns, 0, rows)).view(values.dtype)


def _spans(ends_E: Tensor) -> Iterator[tuple[int, int]]:
    ends = [0, *ends_E.tolist()]
    return itertools.pairwise(ends)


def _rows(x: Quantised, start: int, end: int) -> Quantised:
    """Some rows of an operand, with their scales."""
    assert x.scale is not None, "stored operands have scales"
    assert x.tile is not None, "stored operands have tiles"
    shared = x.tile in ("tensor", "column")
    side = 1 if x.tile in ("1x128", "row") else 128
    scale = x.scale if shared else x.scale[start // side : -(-end // side)]
    return Quantised(x.values[start:end], scale, None, x.tile)


def _matrix(weight: Quantised, expert: int) -> Quantised:
    """One expert's weight."""
    assert weight.scale is not None, "stored operands have scales"
    return Quantised(weight.values[expert], weight.scale[expert], None, weight.tile)
