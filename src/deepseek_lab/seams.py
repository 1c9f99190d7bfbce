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

    def knows(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in the memory of a result that was noted."""


LISTENER: ContextVar[Notes | None] = ContextVar("recomputable", default=None)
"""Who hears of recomputable results; None in a forward pass without recomputation."""


def recomputable(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`function(*inputs)`, whose result may be dropped and computed again; it must depend on nothing else.

    The weights of modules are such a dependence and allowed: they do not change before the backward pass.
    """
    output = function(*inputs)
    if torch.compiler.is_compiling():  # a compiler knows no context variables, and decides for itself what it keeps
        return output
    listener = LISTENER.get()
    if listener is not None:
        listener.note(output, function, inputs)
    return output


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` in another dtype."""
    return x.to(dtype)


class Nonlinearity(nn.Module):
    """An elementwise function between two products, such as SwiGLU.

    A precision recipe may keep its first input in a narrower format and compute its result again in the backward
    pass. Holds no weight.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """`function(x, *others)`."""
        return recomputable(self.function, x, *others)


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
        return grouped_product(x_ND, weight_EOD, offsets_E)


def grouped_product(x_ND: Tensor, weight_EOD: Tensor, offsets_E: Tensor) -> Tensor:
    """(N, D) sorted rows times each group's (O, D) matrix, transposed -> (N, O)."""
    if torch.compiler.is_compiling() and not _can_be_traced(x_ND.dtype, x_ND.device.type):
        product_NO: Tensor = _untraced_product(x_ND, weight_EOD, offsets_E)
        return product_NO
    if x_ND.dtype == torch.float64 or not _kernel_takes(x_ND, *weight_EOD.shape[1:]):
        rows = rows_of(x_ND, offsets_E)
        return torch.cat([row @ weight.t() for row, weight in zip(rows, weight_EOD.unbind(0), strict=True)])
    y_NO: Tensor = F.grouped_mm(x_ND, weight_EOD.transpose(-2, -1), offs=offsets_E)
    return y_NO


def grouped_outer_product(y_NO: Tensor, x_ND: Tensor, offsets_E: Tensor) -> Tensor:
    """Σ over each group's rows of y ⊗ x, the gradient of its weight: (N, O), (N, D) -> (E, O, D)."""
    if x_ND.dtype == torch.float64 or not _kernel_takes(x_ND, y_NO.shape[1], x_ND.shape[1]):
        pairs = zip(rows_of(y_NO, offsets_E), rows_of(x_ND, offsets_E), strict=True)
        return torch.stack([y.t() @ x for y, x in pairs])
    sums_EOD: Tensor = F.grouped_mm(y_NO.t(), x_ND, offs=offsets_E)
    return sums_EOD


def _can_be_traced(dtype: torch.dtype, device_type: str) -> bool:
    """Whether torch's compiler knows the grouped kernel: it refuses every dtype but bf16, and has none for a CPU."""
    return dtype == torch.bfloat16 and device_type != "cpu"


@torch.library.custom_op("deepseek_lab::grouped_product", mutates_args=())
def _untraced_product(x_ND: Tensor, weight_EOD: Tensor, offsets_E: Tensor) -> Tensor:
    """`grouped_product` as one operation of a compiled graph, which the compiler does not look into."""
    return grouped_product(x_ND.contiguous(), weight_EOD, offsets_E)


@torch.library.custom_op("deepseek_lab::grouped_outer_product", mutates_args=())
def _untraced_outer_product(y_NO: Tensor, x_ND: Tensor, offsets_E: Tensor) -> Tensor:
    """The same of `grouped_outer_product`."""
    return grouped_outer_product(y_NO.contiguous(), x_ND.contiguous(), offsets_E)


@_untraced_product.register_fake
def _(x_ND: Tensor, weight_EOD: Tensor, offsets_E: Tensor) -> Tensor:
    return x_ND.new_empty(x_ND.shape[0], weight_EOD.shape[1])


@_untraced_outer_product.register_fake
def _(y_NO: Tensor, x_ND: Tensor, offsets_E: Tensor) -> Tensor:
    return x_ND.new_empty(offsets_E.shape[0], y_NO.shape[1], x_ND.shape[1])


def _keep_operands(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _untraced_backward(ctx: Any, grad_NO: Tensor) -> tuple[Tensor, Tensor, None]:
    x_ND, weight_EOD, offsets_E = ctx.saved_tensors
    grad_ND = _untraced_product(grad_NO, weight_EOD.transpose(-2, -1), offsets_E)
    return grad_ND, _untraced_outer_product(grad_NO, x_ND, offsets_E), None


_untraced_product.register_autograd(_untraced_backward, setup_context=_keep_operands)


def _kernel_takes(x_ND: Tensor, *widths: int) -> bool:
    """Whether torch's grouped kernel, forward and backward, can: it wants rows of whole 16 bytes."""
    return all(width * x_ND.element_size() % 16 == 0 for width in widths)


def rows_of(x_ND: Tensor, offsets_E: Tensor) -> tuple[Tensor, ...]:
    """The rows of each group; for what has no grouped kernel (float64, odd widths): slower."""
    return x_ND.tensor_split(offsets_E[:-1].cpu().long())
