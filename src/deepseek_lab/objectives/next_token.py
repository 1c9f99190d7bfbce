"""Cross entropy of the output head, in chunks, so that the logits never stand in memory whole.

    L = Σ_n w_n · (logsumexp_v(h_n·e_v) - h_n·e_{y_n})

With the usual two steps (head, then loss) the logits, their log-softmax and their gradient take
3·N·V numbers, far more than the network itself. Here each chunk of rows goes from hidden state to
loss to gradient at once and its logits are overwritten by the next chunk: one (chunk, V) buffer.
The price: the gradients are computed in the forward pass, so there is no second derivative and
backward works once.

Rows with weight 0 are not computed at all, so one call carries the main loss, every MTP depth and
their masks. Left out: label smoothing, z-loss and a bias on the head, which no DeepSeek model has.

Shapes: N rows (positions), C rows of one chunk, V vocabulary, D width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CPU_LOGITS = 2**21  # 8 MiB of fp32: near the fastest for V from 512 to 131,072, and a tenth of plain's memory
_CPU_ROWS = 1024  # beyond this a small vocabulary gains nothing
_ACCELERATOR_LOGITS = 2**26  # 256 MiB of fp32: products large enough to fill a big card
_FEWEST_ROWS = 128  # under this the head's weights are re-read too often to keep the products busy


@dataclass
class _Gradients:
    """Gradients of the weighted sum, summed over the chunks; None where nobody asks."""

    hidden_ND: Tensor | None
    weight_VD: Tensor | None


def chunked_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, row_weight_N: Tensor, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted sum of the negative log-likelihoods of `targets_N`, and each of them.

    hidden_ND: final hidden states. weight_VD: the head. targets_N: ids in [0, V); anything where the
    row's weight is 0. row_weight_N: how much each row counts (1 / count for a mean).
    chunk: rows at a time; None picks them from the vocabulary and the device.

    Returns (weighted_sum, nll_N): a scalar with a gradient to hidden_ND and weight_VD, and the
    unweighted losses in nats, detached, 0 where the weight is 0. Both fp32 (fp64 for fp64 input).
    Under autocast the products run in its dtype, the softmax in fp32. On an accelerator the count of
    rows to compute is read back once.
    """
    rows = chunk or rows_at_a_time(weight_VD.shape[0], weight_VD.device.type)
    if torch.is_grad_enabled() and (hidden_ND.requires_grad or weight_VD.requires_grad):
        loss, nll_N = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden_ND, weight_VD, targets_N, row_weight_N, rows
        )
        return loss, nll_N
    return _walk(hidden_ND, weight_VD, targets_N, row_weight_N, rows, _Gradients(None, None))


class _ChunkedCrossEntropy(torch.autograd.Function):
    """The loss with its gradients found on the way forward."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, row_weight_N: Tensor, chunk: int
    ) -> tuple[Tensor, Tensor]:
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        gradients = _Gradients(
            torch.zeros_like(hidden_ND) if wants_hidden else None,
            torch.zeros_like(weight_VD, dtype=_wide(weight_VD.dtype)) if wants_weight else None,
        )
        loss, nll_N = _walk(hidden_ND, weight_VD, targets_N, row_weight_N, chunk, gradients)
        ctx.gradients, ctx.weight_dtype = gradients, weight_VD.dtype
        ctx.mark_non_differentiable(nll_N)
        ctx.set_materialize_grads(False)  # no zeros made for nll_N's gradient
        return loss, nll_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _: None) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("chunked_cross_entropy gives its gradients once; call it again for a second backward")
        # Let go of the gradients: scaled in place and handed over without a copy of V·D numbers.
        gradients, ctx.gradients = ctx.gradients, None
        # Reading a scalar is free on a CPU and would stall an accelerator, where scaling is cheap.
        if grad_loss.device.type != "cpu" or grad_loss.item() != 1.0:
            for gradient in (gradients.hidden_ND, gradients.weight_VD):
                if gradient is not None:
                    gradient.mul_(grad_loss)
        weight_VD = None if gradients.weight_VD is None else gradients.weight_VD.to(ctx.weight_dtype)
        return gradients.hidden_ND, weight_VD, None, None, None


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype that sums of `dtype` are kept in: fp32, or fp64 for fp64."""
    return torch.promote_types(dtype, torch.float32)


def rows_at_a_time(vocab_size: int, device_type: str) -> int:
    """Rows whose logits fill the device's buffer, at least enough to keep the products busy."""
    if device_type == "cpu":
        return min(_CPU_ROWS, max(_FEWEST_ROWS, _CPU_LOGITS // vocab_size))
    return max(_FEWEST_ROWS, _ACCELERATOR_LOGITS // vocab_size)


def _product_dtype(hidden_ND: Tensor) -> torch.dtype:
    """What the products with the head run in: autocast's dtype where it is on, else the hidden state's."""
    device = hidden_ND.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_ND.dtype


def _chunks(row_weight_N: Tensor, chunk: int) -> Iterator[slice | Tensor]:
    """The rows that count, `chunk` at a time: slices (views, no copy) when all do, else indices."""
    n_rows = row_weight_N.shape[0]
    counted = row_weight_N.nonzero().squeeze(1)
    if counted.shape[0] == n_rows:
        yield from (slice(start, min(start + chunk, n_rows)) for start in range(0, n_rows, chunk))
    elif counted.shape[0]:
        yield from counted.split(chunk)


def _walk(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, row_weight_N: Tensor, chunk: int, gradients: _Gradients
) -> tuple[Tensor, Tensor]:
    """Weighted sum and losses of all rows; fills `gradients` where they are not None."""
    dtype = _product_dtype(hidden_ND)
    nll_N = hidden_ND.new_zeros(hidden_ND.shape[0], dtype=_wide(dtype))
    with torch.no_grad(), torch.autocast(hidden_ND.device.type, enabled=False):
        head_VD = weight_VD.to(dtype)
        for rows in _chunks(row_weight_N, chunk):
            hidden_CD = hidden_ND[rows].to(dtype)
            targets_C = targets_N[rows, None]
            logp_CV = _log_probabilities(hidden_CD, head_VD)
            nll_N[rows] = -logp_CV.gather(1, targets_C).squeeze(1)
            weight_C1 = row_weight_N[rows, None].to(dtype)
            _add_gradients(gradients, rows, hidden_CD, head_VD, logp_CV, targets_C, weight_C1)
            del logp_CV  # before the next chunk's, which then lie in the same memory
    return torch.dot(nll_N, row_weight_N.to(nll_N.dtype)), nll_N


def _log_probabilities(hidden_CD: Tensor, head_VD: Tensor) -> Tensor:
    """Log-softmax of the chunk's logits, in one buffer."""
    logits_CV = _logits(hidden_CD, head_VD).to(_wide(hidden_CD.dtype))
    return torch.log_softmax(logits_CV, dim=1, out=logits_CV)


def _logits(hidden_CD: Tensor, head_VD: Tensor) -> Tensor:
    """(C, V) = hidden·headᵀ. So few rows times so wide a matrix take MKL 1.5 times as long as oneDNN."""
    if hidden_CD.device.type == "cpu" and hidden_CD.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        logits_CV: Tensor = torch.ops.mkldnn._linear_pointwise.default(hidden_CD, head_VD, None, "none", [], "")
        return logits_CV
    return hidden_CD @ head_VD.T


def _add_gradients(
    gradients: _Gradients,
    rows: slice | Tensor,
    hidden_CD: Tensor,
    head_VD: Tensor,
    logp_CV: Tensor,
    targets_C: Tensor,
    weight_C1: Tensor,
) -> None:
    """Adds the chunk's part: dL/dlogits = w·(p - onehot). Overwrites `logp_CV`.

    The weights scale the narrow (C, D) side of each product, never the (C, V) one.
    """
    if gradients.hidden_ND is None and gradients.weight_VD is None:
        return
    slope_CV = logp_CV.exp_()
    slope_CV.scatter_add_(1, targets_C, slope_CV.new_full((1, 1), -1.0).expand_as(targets_C))
    slope_CV = slope_CV.to(hidden_CD.dtype)
    if gradients.hidden_ND is not None:
        gradients.hidden_ND[rows] = (slope_CV @ head_VD).mul_(weight_C1).to(gradients.hidden_ND.dtype)
    if gradients.weight_VD is not None:
        scaled_CD = hidden_CD * weight_C1
        if scaled_CD.dtype == gradients.weight_VD.dtype:
            gradients.weight_VD.addmm_(slope_CV.T, scaled_CD)
        else:
            gradients.weight_VD.add_(slope_CV.T @ scaled_CD)
