"""A few rows times a matrix, the quick way round: what decoding does all day.

y = x·Wᵀ and yᵀ = W·xᵀ are the same numbers, but with one to eight rows a CPU's library streams W two to four times
sooner in the second form, and two rows sooner than one, for which it takes a slower kernel (measured with MKL on
Zen 3; from 16 rows on both take the same time). So few rows go that way, and a single one goes twice. A matrix that
comes from the processor's cache is no stream and stays plain; of one that is kept for many steps there is a third form
for three rows and more (`prepared`).

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

from deepseek_lab.model.prepared import Prepared

FEW = 8
"""Rows up to which the second form is the faster one."""

_DECODING: ContextVar[Prepared | None] = ContextVar("decoding", default=None)
_COMPILED = Prepared()


@contextmanager
def decoding(prepared: Prepared | None = None) -> Iterator[None]:
    """Within it few rows go the quick way, over weights `prepared` for it, or as those around it are."""
    token = _DECODING.set(prepared or _DECODING.get() or Prepared())
    try:
        yield
    finally:
        _DECODING.reset(token)


def prepared_for(x: Tensor, weight: Tensor) -> Prepared | None:
    """What the quick forms of a product with `x` may use; None where there are none."""
    if torch.is_grad_enabled():
        return None
    # A compiler knows no context variables; what is compiled without gradients is the decoding step.
    prepared = _COMPILED if torch.compiler.is_compiling() else _DECODING.get()
    return prepared if prepared is not None and _has_forms(x, weight) else None


def _has_forms(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
    )


def product_of_few(x: Tensor, weight_OI: Tensor) -> Tensor:
    """(…, I) -> (…, O): x·Wᵀ for a few rows; left as the product leaves it, transposed in memory."""
    x_NI = x.reshape(-1, x.shape[-1])
    n_rows = x_NI.shape[0]
    if n_rows == 1:
        x_NI = torch.cat((x_NI, x_NI))
    y_NO = torch.mm(weight_OI, x_NI.contiguous().t()).t()[:n_rows]
    return y_NO if x.ndim == 2 else y_NO.view(*x.shape[:-1], -1)


def project(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """(…, I) -> (…, O): x·Wᵀ + b in whichever form is quickest."""
    prepared = prepared_for(x, weight_OI)
    if prepared is None or not prepared.streams:
        return F.linear(x, weight_OI, bias_O)
    n_rows = x.numel() // x.shape[-1]
    packed = prepared.packed(weight_OI) if prepared.packs and n_rows > 2 else None
    if packed is not None:
        y: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, packed, bias_O, "none", [], "")
        return y
    if not 0 < n_rows <= FEW:
        return F.linear(x, weight_OI, bias_O)
    y = product_of_few(x, weight_OI)
    return y if bias_O is None else y + bias_O


class Linear(nn.Linear):
    """An `nn.Linear` that is quick with few rows; a precision recipe replaces it like any other."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) -> (…, O)."""
        return project(x, self.weight, self.bias)
