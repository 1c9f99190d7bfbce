"""Where a choice from outside takes hold of a built model: number formats and recomputation.

The matrix multiplications that a precision recipe may replace: `nn.Linear` is one such seam already; the
experts of a mixture need a second, because all experts of a layer run as one grouped product over a stacked
weight. The model calls these modules and never says which number format they compute in: `precision.apply`
swaps them on a built model.

The results that are cheap to compute again: the model says which (`recomputable`), and never whether the
backward pass keeps them or computes them again: `model.recompute` listens, or nobody does.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Notes(Protocol):
    """Someone who wants to know how results were made."""

    def note(self, output: Tensor, function: Callable[..., Tensor], inputs: tuple[Any, ...]) -> None:
        """`output` is `function(*inputs)`, and would be again."""


LISTENER: ContextVar[Notes | None] = ContextVar("recomputable", default=None)
"""Who hears of recomputable results; None in a forward pass without recomputation."""


def recomputable(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`function(*inputs)`, whose result may be dropped and computed again; it must depend on nothing else.

    The weights of modules are such a dependence and allowed: they do not change before the backward pass.
    """
    output = function(*inputs)
    listener = LISTENER.get()
    if listener is not None:
        listener.note(output, function, inputs)
    return output


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` in another dtype."""
    return x.to(dtype)


class GroupedMatmul(nn.Module):
    """Rows sorted by expert times each expert's own matrix, in one call.

    Holds no weight: the parameters stay where the model names them.
    """

    def forward(self, x_ND: Tensor, weight_EOD: Tensor, offsets_E: Tensor) -> Tensor:
        """(N, D) rows, (E, O, D) weights, (E,) int32 running ends of each expert's rows -> (N, O).

        An expert may have no rows. Keep a real operation behind the result: torch's backward refuses
        a gradient of stride 0, such as that of `y.sum()`. Under autocast both operands are cast here,
        because torch's list of autocast operations does not hold this one.
        """
        kind = x_ND.device.type
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
            x_ND, weight_EOD = recomputable(cast, x_ND, dtype), weight_EOD.to(dtype)
        if x_ND.dtype == torch.float64 or not _kernel_takes(x_ND, weight_EOD):
            return _one_by_one(x_ND, weight_EOD, offsets_E)
        y_NO: Tensor = F.grouped_mm(x_ND, weight_EOD.transpose(-2, -1), offs=offsets_E)
        return y_NO


def _kernel_takes(x_ND: Tensor, weight_EOD: Tensor) -> bool:
    """Whether torch's grouped kernel, forward and backward, can: it wants rows of whole 16 bytes."""
    return all(width * x_ND.element_size() % 16 == 0 for width in weight_EOD.shape[1:])


def _one_by_one(x_ND: Tensor, weight_EOD: Tensor, offsets_E: Tensor) -> Tensor:
    """The same product expert by expert, for what has no grouped kernel: float64 and odd widths; slower."""
    rows = x_ND.tensor_split(offsets_E[:-1].cpu().long())
    return torch.cat([row @ weight.t() for row, weight in zip(rows, weight_EOD.unbind(0), strict=True)])
