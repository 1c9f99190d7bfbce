"""The experts' grouped product, its three products on rounded operands.

Tiles along the tokens must not mix two experts: for Wgrad every expert's rows are moved to a multiple of 128, with
rows of zeros between, which add nothing. Where all rows share a scale (row- and tensor-wise recipes), they do so
over all experts of the layer.

Shapes: M rows sorted by expert, D inputs, O outputs, E experts.
"""

from typing import Any

import torch
from torch import Tensor

from deepseek_lab.precision.linear import Keeping, Layer, output_dtype
from deepseek_lab.precision.nonlinearity import Source, source_of
from deepseek_lab.precision.operands import Rules
from deepseek_lab.precision.quantise import TILES, Quantised, Rounding
from deepseek_lab.seams import GroupedMatmul

ROWS = 128
"""Rows of a tile along the tokens."""


class Moves:
    """Rows to places where each expert begins at a multiple of 128, and back.

    There is room for the worst case, so that no size waits for the device.
    """

    def __init__(self, ends_E: Tensor, n_rows: int) -> None:
        starts_E = torch.cat((ends_E.new_zeros(1), ends_E[:-1]))
        room_E = (ends_E - starts_E + ROWS - 1) // ROWS * ROWS
        self.ends_E = room_E.cumsum(0).to(ends_E.dtype)
        self.n_places = -(-n_rows // ROWS) * ROWS + ROWS * ends_E.shape[0]
        row_M = torch.arange(n_rows, device=ends_E.device)
        expert_M = torch.searchsorted(ends_E, row_M, right=True)
        self.place_M = row_M + (self.ends_E - room_E - starts_E)[expert_M]

    def __call__(self, x_MC: Tensor) -> Tensor:
        """(M, C) -> (places, C), zeros where no row goes."""
        return x_MC.new_zeros(self.n_places, x_MC.shape[1]).index_copy_(0, self.place_M, x_MC)

    def back(self, x: Quantised) -> Quantised:
        """The rows where they were; their scales are folded in."""
        return Quantised(x.values[self.place_M], None, None)


class _Grouped(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_MD: Tensor, weight_EOD: Tensor, ends_E: Tensor, layer: Layer, source: Source | None
    ) -> Tensor:
        with torch.autocast(x_MD.device.type, enabled=False):
            x, kept = layer.activation(x_MD)
            weight = layer.weight(weight_EOD)
            y_MO = layer.backend.grouped(x, weight, ends_E)[:, : weight_EOD.shape[1]]
        keeping = Keeping(layer, x_MD, kept, source)
        ctx.layer, ctx.keeping, ctx.dtypes = layer, keeping, (x_MD.dtype, weight_EOD.dtype)
        ctx.save_for_backward(ends_E, *layer.held_weight(weight, weight_EOD), *keeping.tensors(x_MD, kept, source))
        return y_MO.to(output_dtype(x_MD))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        ends_E, held_EOD, scale, *tensors = ctx.saved_tensors
        layer: Layer = ctx.layer
        dy_MO = grads[0].float().contiguous()
        moves = Moves(ends_E, dy_MO.shape[0]) if shares_scales_along_rows(layer.operands.rules) else None
        dy, again = _gradients(layer, dy_MO, moves, ctx.needs_input_grad[1])
        dx = dweight = None
        if ctx.needs_input_grad[0]:
            dx = layer.backend.grouped(dy, layer.weight_again(held_EOD, scale).t(), ends_E)
            dx = dx[:, : ctx.keeping.n_inputs].to(ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            x = ctx.keeping.operand(tensors, moves) if moves else ctx.keeping.operand(tensors)
            dweight = layer.backend.grouped_outer(again, x, moves.ends_E if moves else ends_E)
            dweight = dweight[:, : dy_MO.shape[1], : ctx.keeping.n_inputs].to(ctx.dtypes[1])
        return dx, dweight, None, None, None


def shares_scales_along_rows(rules: Rules) -> bool:
    """Whether Wgrad's operands have tiles of 128 tokens."""
    return isinstance(rules.activation_again, Rounding) and TILES[rules.activation_again.tile].rows == ROWS


def _gradients(layer: Layer, dy_MO: Tensor, moves: Moves | None, both: bool) -> tuple[Quantised, Quantised]:
    """The gradient as Dgrad (rows as they are) and as Wgrad (rows moved, if there are moves) multiply it."""
    rules = layer.operands.rules
    if moves is None:
        dy = layer.round("gradient", dy_MO, rules.gradient)
        again = rules.gradient_again
        return dy, layer.round("gradient", dy_MO, again) if again and both else dy
    if rules.gradient_again is None:  # blocks of 128×128, for both
        moved = layer.round("gradient", moves(dy_MO), rules.gradient)
        return moves.back(moved), moved
    dy = layer.round("gradient", dy_MO, rules.gradient)
    return dy, layer.round("gradient", moves(dy_MO), rules.gradient_again) if both else dy


class RoundedGroupedMatmul(GroupedMatmul):
    """A `seams.GroupedMatmul` whose class was changed by `precision.apply`."""

    layer: Layer

    def forward(self, x_ND: Tensor, weight_EOD: Tensor, offsets_E: Tensor) -> Tensor:
        """(M, D) rows sorted by expert, (E, O, D) weights, (E,) running ends -> (M, O)."""
        y_MO: Tensor = _Grouped.apply(  # type: ignore[no-untyped-call]
            x_ND, weight_EOD, offsets_E, self.layer, source_of(x_ND)
        )
        return y_MO
