"""How a rounded operand is held, and how two of them are multiplied: the one seam between emulation and hardware.

`Emulated` holds q·s in fp32 and multiplies in fp32, on any device. That is what the hardware does up to the order
of its sums: a product of two e4m3 numbers is exact in fp32, and DeepSeek-V3 promotes its sums to fp32 every 128
(§3.3.2). `accumulator` stands in for less careful hardware (`accumulate`). It saves no memory and no time;
`native.Native` does.

Shapes: M, N rows of the two operands, K the side that is summed over, E experts.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from deepseek_lab.precision.operands import How, Operands
from deepseek_lab.precision.quantise import Quantised, quantise, to_bfloat16
from deepseek_lab.seams import grouped_outer_product, grouped_product, rows_of


class Backend(Protocol):
    """What a linear, a grouped product and a cached nonlinearity ask."""

    keeps_weight: bool
    """Whether the rounded weight of the forward waits for the backward; else the master is rounded again."""

    def quantise(self, operands: Operands, kind: str, x: Tensor, how: How) -> Quantised:
        """(…, R, C) operand of a kind; notes it with its layer."""

    def restore(self, x: Quantised) -> Tensor:
        """The numbers of an operand, fp32; may be padded to whole tiles."""

    def product(self, a: Quantised, b: Quantised, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        """(M, K), (N, K) -> a·bᵀ (M, N); `dtype` at least. The result may be padded."""

    def grouped(self, x: Quantised, weight: Quantised, ends_E: Tensor) -> Tensor:
        """(M, K) rows sorted by expert, (E, N, K) -> (M, N)."""

    def grouped_outer(self, y: Quantised, x: Quantised, ends_E: Tensor) -> Tensor:
        """(M, N), (M, K) rows -> Σ over each expert's rows of y ⊗ x (E, N, K)."""


Product = Callable[[Tensor, Tensor], Tensor]
"""(M, K), (N, K) -> a·bᵀ (M, N) with sums of a certain accuracy."""


class Emulated:
    """Rounded numbers, held and multiplied in fp32. `accumulator` of None sums in fp32."""

    keeps_weight = True

    def __init__(self, accumulator: Product | None = None) -> None:
        self.accumulator = accumulator

    def quantise(self, operands: Operands, kind: str, x: Tensor, how: How) -> Quantised:
        """See `Backend.quantise`."""
        result = to_bfloat16(x) if how is None else quantise(x, how)
        operands.note(kind, x, result)
        return result

    def restore(self, x: Quantised) -> Tensor:
        """The numbers stand there already."""
        return x.values

    def product(self, a: Quantised, b: Quantised, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        """See `Backend.product`."""
        return a.values @ b.values.t() if self.accumulator is None else self.accumulator(a.values, b.values)

    def grouped(self, x: Quantised, weight: Quantised, ends_E: Tensor) -> Tensor:
        """See `Backend.grouped`."""
        if self.accumulator is None:
            return grouped_product(x.values, weight.values, ends_E)
        rows = zip(rows_of(x.values, ends_E), weight.values.unbind(0), strict=True)
        return torch.cat([self.accumulator(row, matrix) for row, matrix in rows])

    def grouped_outer(self, y: Quantised, x: Quantised, ends_E: Tensor) -> Tensor:
        """See `Backend.grouped_outer`."""
        if self.accumulator is None:
            return grouped_outer_product(y.values, x.values, ends_E)
        pairs = zip(rows_of(y.values, ends_E), rows_of(x.values, ends_E), strict=True)
        return torch.stack([self.accumulator(a.t(), b.t()) for a, b in pairs])
