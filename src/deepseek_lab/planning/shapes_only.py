"""FP8 products as a plan needs them: operands quantised and kept as hardware would, results without numbers.

A plan runs on fake tensors, which no kernel of a card multiplies and whose experts have no known number of rows.
Left out: what one operation needs for a moment.

Shapes: M, N rows of the two operands, K the side that is summed over, E experts.
"""

from typing import Any

import torch
from torch import Tensor, nn

from deepseek_lab.precision.backend import Emulated
from deepseek_lab.precision.native import Native
from deepseek_lab.precision.nonlinearity import CachedNonlinearity
from deepseek_lab.precision.observation import quantised_modules
from deepseek_lab.precision.operands import How, Operands
from deepseek_lab.precision.quantise import TILES, Quantised


class ShapesOnly(Native):
    """The native backend without its kernels."""

    def quantise(self, operands: Operands, kind: str, x: Tensor, how: How) -> Quantised:
        """Empty, of the size and dtype of what `store` keeps; nothing is noted."""
        assert how is not None, "bf16 is native without a backend"
        if how.form.dtype is None:
            return Quantised(x.new_empty(x.shape, dtype=torch.bfloat16), None, None)
        rows, columns = TILES[how.tile].sides(*x.shape[-2:])
        n_rows, n_columns = -(-x.shape[-2] // rows), -(-x.shape[-1] // columns)
        values = x.new_empty(*x.shape[:-2], n_rows * rows, n_columns * columns, dtype=how.form.dtype)
        return Quantised(values, x.new_empty(*x.shape[:-2], n_rows, n_columns), None, how.tile)

    def restore(self, x: Quantised) -> Tensor:
        """Empty, in fp32."""
        return x.values.new_empty(x.values.shape, dtype=torch.float32)

    def product(self, a: Quantised, b: Quantised, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        """Empty (M, N)."""
        return a.values.new_empty(a.values.shape[0], b.values.shape[0], dtype=dtype)

    def grouped(self, x: Quantised, weight: Quantised, ends_E: Tensor) -> Tensor:
        """Empty (M, N)."""
        return x.values.new_empty(x.values.shape[0], weight.values.shape[1], dtype=torch.bfloat16)


class EmulatedShapes(Emulated):
    """The emulation without its rounding, which goes over large tensors piece by piece."""

    def quantise(self, operands: Operands, kind: str, x: Tensor, how: How) -> Quantised:
        """Empty, in fp32."""
        return Quantised(x.new_empty(x.shape, dtype=torch.float32), None, None)


def multiply_shapes_only(model: nn.Module) -> None:
    """Takes the numbers from every quantised product of a model; it is good for nothing but planning then."""
    holders: list[Any] = [module.layer for module in quantised_modules(model)]
    holders += [module for module in model.modules() if isinstance(module, CachedNonlinearity)]
    for holder in holders:
        holder.backend = ShapesOnly() if isinstance(holder.backend, Native) else EmulatedShapes()
