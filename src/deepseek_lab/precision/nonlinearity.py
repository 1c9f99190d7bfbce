"""A nonlinearity that keeps its input quantised and computes its result again in the backward pass.

DeepSeek-V3 caches the inputs of SwiGLU in FP8 and recomputes its output (§3.3.3): the largest activations of a
block wait in a quarter of the bytes. So the backward sees another number than the forward did: the derivative is
taken at the quantised input, and the linear behind multiplies the recomputed output in its Wgrad.

The result carries what it is made from (`source_of`), so that the linear behind keeps nothing of its own. Both
save the same tensors through autograd: recomputation of whole blocks (`model.recompute`) frees them too.

Shapes: N rows, X inputs of any nonlinearity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.precision.backend import Backend
from deepseek_lab.precision.operands import Operands
from deepseek_lab.precision.quantise import Quantised
from deepseek_lab.seams import Nonlinearity

_MARK = "_made_from"


class Remaking:
    """Computes an output again, once for the linear behind and for the nonlinearity itself."""

    def __init__(self, function: Callable[..., Tensor], restore: Callable[[Tensor, Tensor | None], Tensor]) -> None:
        self.function = function
        self.restore = restore
        self._made: tuple[list[Tensor], Tensor] | None = None

    def graph(self, kept: Sequence[Tensor | None]) -> tuple[list[Tensor], Tensor]:
        """Inputs that ask for gradients, and the output; kept: values and scale of the first input, then the others."""
        if self._made is None:
            values, scale, *others = kept
            assert values is not None, "values are always kept"
            first = self.restore(values, scale)
            with torch.enable_grad():
                inputs = [first, *(x for x in others if x is not None)]
                leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
                self._made = leaves, self.function(*leaves)
        return self._made

    def forget(self) -> None:
        """Lets go of the output; the backward has passed."""
        self._made = None


@dataclass(frozen=True)
class Source:
    """What a result can be made from again."""

    remaking: Remaking
    kept: tuple[Tensor | None, ...]


def source_of(x: Tensor) -> Source | None:
    """What `x` can be made from, if a nonlinearity of this file made it."""
    source: Source | None = getattr(x, _MARK, None)
    return source


class _Cached(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Source, *others: Tensor) -> Tensor:
        ctx.remaking, ctx.shape = source.remaking, x.shape
        ctx.save_for_backward(*source.kept)
        out: Tensor = source.remaking.function(x, *others)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        leaves, output = ctx.remaking.graph(ctx.saved_tensors)
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        found = iter(torch.autograd.grad(output, wanted, grads[0].reshape(output.shape).to(output.dtype)))
        ctx.remaking.forget()
        first, *others = (next(found) if leaf.requires_grad else None for leaf in leaves)
        assert first is not None, "the first input is a number"
        return first.view(ctx.shape), None, *others


class CachedNonlinearity(Nonlinearity):
    """A `seams.Nonlinearity` whose class was changed by `precision.apply`."""

    operands: Operands
    backend: Backend

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """`function(x, *others)`; keeps `x` rounded by the rule of activations, and `others` as they are."""
        if not torch.is_grad_enabled():
            out: Tensor = self.function(x, *others)
            return out
        n_columns, rule = x.shape[-1], self.operands.rules.activation

        kept = self.backend.quantise(self.operands, "activation", x.detach().flatten(0, -2), rule)
        tile, dtype, backend = kept.tile, x.dtype, self.backend

        def restore(values: Tensor, scale: Tensor | None) -> Tensor:
            return backend.restore(Quantised(values, scale, None, tile))[..., :n_columns].to(dtype)

        source = Source(Remaking(self.function, restore), (kept.values, kept.scale, *(y.detach() for y in others)))
        out = _Cached.apply(x, source, *others)  # type: ignore[no-untyped-call]
        setattr(out, _MARK, source)
        return out
