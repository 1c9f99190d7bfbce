"""A few rows times a matrix, the quick way round: what decoding does all day.

y = x·Wᵀ and yᵀ = W·xᵀ are the same numbers, but with one to eight rows a CPU's library streams W two to four times
sooner in the second form, and two rows sooner than one, for which it takes a slower kernel (measured with MKL on
Zen 3; from 16 rows on both take the same time). So few rows go that way, and a single one goes twice.

Only while `decoding()`: which of a library's kernels runs depends on where the numbers lie in memory, and a validation
loss must be the same to the bit in a run that was resumed. Left out: 16-bit types, autocast and accelerators, which
have kernels of their own.

Shapes: N rows, I input width, O output width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW = 8
"""Rows up to which the second form is the faster one."""

_DECODING: ContextVar[bool] = ContextVar("decoding", default=False)


@contextmanager
def decoding() -> Iterator[None]:
    """Within it few rows go the quick way."""
    token = _DECODING.set(True)
    try:
        yield
    finally:
        _DECODING.reset(token)


def takes_few(x: Tensor, weight: Tensor) -> bool:
    """Whether `product_of_few` may stand in for `x @ weight.T`."""
    return (
        # A compiler knows no context variables; what is compiled without gradients is the decoding step.
        (torch.compiler.is_compiling() or _DECODING.get())
        and not torch.is_grad_enabled()
        and 0 < x.numel() <= FEW * x.shape[-1]
        and x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
    )


def product_of_few(x: Tensor, weight_OI: Tensor) -> Tensor:
    """(…, I) -> (…, O): x·Wᵀ for a few rows, contiguous."""
    x_NI = x.reshape(-1, x.shape[-1])
    if x_NI.shape[0] == 1:
        y_NO = torch.mm(weight_OI, torch.cat((x_NI, x_NI)).t())[:, 0].contiguous()
    else:
        y_NO = torch.mm(weight_OI, x_NI.t()).t().contiguous()
    return y_NO.view(*x.shape[:-1], -1)


def project(x: Tensor, weight_OI: Tensor) -> Tensor:
    """(…, I) -> (…, O): x·Wᵀ in whichever form is quicker."""
    return product_of_few(x, weight_OI) if takes_few(x, weight_OI) else F.linear(x, weight_OI)


class Linear(nn.Linear):
    """An `nn.Linear` that is quick with few rows; a precision recipe replaces it like any other."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) -> (…, O)."""
        if not takes_few(x, self.weight):
            return super().forward(x)
        y = product_of_few(x, self.weight)
        return y if self.bias is None else y + self.bias
