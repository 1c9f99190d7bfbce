"""A linear layer whose three products take rounded operands.

What waits for the backward is the rounded activation; or, if the activation is computed again there, what it is
made from: a cached SwiGLU (`nonlinearity`), or whatever `model.recompute` made note of.

Shapes: N rows, D inputs, O outputs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deepseek_lab.precision.backend import Backend
from deepseek_lab.precision.nonlinearity import Source, source_of
from deepseek_lab.precision.operands import How, Operands
from deepseek_lab.precision.quantise import Quantised
from deepseek_lab.seams import LISTENER

Move = Callable[[Tensor], Tensor]
"""Rows to rows."""


def _in_place(x: Tensor) -> Tensor:
    return x


class Layer:
    """One layer's operands and what multiplies them: all that a product and its gradients need besides numbers."""

    def __init__(self, operands: Operands, backend: Backend) -> None:
        self.operands = operands
        self.backend = backend

    def activation(self, x_ND: Tensor) -> tuple[Quantised, Quantised]:
        """The activation as Fprop multiplies it, and as it waits for the backward."""
        rules = self.operands.rules
        if rules.kept is None:
            x = self.round("activation", x_ND, rules.activation)
            return x, x
        kept = self.round("activation", x_ND, rules.kept)
        return self.round("activation", self.backend.restore(kept)[..., : x_ND.shape[-1]], rules.activation), kept

    def weight(self, weight: Tensor) -> Quantised:
        """The weight as Fprop multiplies it."""
        return self.round("weight", weight, self.operands.rules.weight)

    def held_weight(self, weight: Quantised, master: Tensor) -> tuple[Tensor, Tensor | None]:
        """What of the weight waits for the backward: as Fprop multiplied it, or the master to round again."""
        return (weight.values, weight.scale) if self._keeps_weight else (master, None)

    def weight_again(self, held: Tensor, scale: Tensor | None) -> Quantised:
        """The weight as Dgrad multiplies it, from what was held."""
        if self._keeps_weight:
            return Quantised(held, scale, None)
        rules = self.operands.rules
        return self.round("weight", held, rules.weight_again or rules.weight)

    @property
    def _keeps_weight(self) -> bool:
        return self.backend.keeps_weight and self.operands.rules.weight_again is None

    def round(self, kind: str, x: Tensor, how: How) -> Quantised:
        """An operand by one of the layer's rules."""
        return self.backend.quantise(self.operands, kind, x, how)


class Keeping:
    """How the tensors that wait for the backward become Wgrad's operand again; autograd alone holds them."""

    def __init__(self, layer: Layer, x_ND: Tensor, kept: Quantised, source: Source | None) -> None:
        self.layer, self.n_inputs, self.tile = layer, x_ND.shape[-1], kept.tile
        listener = LISTENER.get()
        self.is_noted = source is None and listener is not None and listener.knows(x_ND)
        self.remaking = source.remaking if source else None

    def tensors(self, x_ND: Tensor, kept: Quantised, source: Source | None) -> Sequence[Tensor | None]:
        """What autograd shall save."""
        return source.kept if source else (x_ND,) if self.is_noted else (kept.values, kept.scale)

    def operand(self, tensors: Sequence[Tensor | None], move: Move = _in_place) -> Quantised:
        """Wgrad's operand, from the tensors that waited; `move` lays out the rows before they share scales."""
        layer, rules = self.layer, self.layer.operands.rules
        if self.remaking is not None:
            x_ND = self.remaking.graph(tensors)[1].detach().flatten(0, -2)
            return layer.round("activation", move(x_ND.float()), rules.activation_again or rules.activation)
        first, *rest = tensors
        assert first is not None, "always kept"
        kept = layer.activation(first)[1] if self.is_noted else Quantised(first, rest[0], None, self.tile)
        if rules.activation_again is None:
            return kept
        x_ND = layer.backend.restore(kept)[..., : self.n_inputs]
        return layer.round("activation", move(x_ND), rules.activation_again)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_OD: Tensor, layer: Layer, source: Source | None) -> Tensor:
        with torch.autocast(x_ND.device.type, enabled=False):
            x, kept = layer.activation(x_ND)
            weight = layer.weight(weight_OD)
            y_NO = layer.backend.product(x, weight)[: x_ND.shape[0], : weight_OD.shape[0]]
        keeping = Keeping(layer, x_ND, kept, source)
        ctx.layer, ctx.keeping, ctx.dtypes = layer, keeping, (x_ND.dtype, weight_OD.dtype)
        ctx.save_for_backward(*layer.held_weight(weight, weight_OD), *keeping.tensors(x_ND, kept, source))
        return y_NO.to(output_dtype(x_ND))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        held_OD, scale, *tensors = ctx.saved_tensors
        layer: Layer = ctx.layer
        rules, product, keeping = layer.operands.rules, layer.backend.product, ctx.keeping
        dy_NO = grads[0].float()
        dy = layer.round("gradient", dy_NO, rules.gradient)
        # Now, while the gradient is in the cache.
        again = layer.round("gradient", dy_NO, rules.gradient_again) if rules.gradient_again else dy
        dx = dweight = None
        if ctx.needs_input_grad[0]:
            dx = product(dy, layer.weight_again(held_OD, scale).t())
            dx = dx[: dy_NO.shape[0], : keeping.n_inputs].to(ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            dweight = product(again.t(), keeping.operand(tensors).t(), torch.float32)
            dweight = dweight[: dy_NO.shape[1], : keeping.n_inputs].to(ctx.dtypes[1])
        return dx, dweight, None, None


def output_dtype(x: Tensor) -> torch.dtype:
    """What a product of this input gives where it is called: autocast's dtype, or the input's."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class RoundedLinear(nn.Linear):
    """An `nn.Linear` whose class was changed by `precision.apply`; it keeps its parameters and their names."""

    layer: Layer

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) -> (…, O)."""
        y_NO: Tensor = _Linear.apply(  # type: ignore[no-untyped-call]
            x.flatten(0, -2), self.weight, self.layer, source_of(x)
        )
        y: Tensor = y_NO.unflatten(0, x.shape[:-1])
        return y if self.bias is None else y + self.bias.to(y.dtype)
