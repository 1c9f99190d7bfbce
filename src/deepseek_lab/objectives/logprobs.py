"""Log-probabilities of given tokens under the head, with gradient, and the entropy beside them.

    log π(y_t) = (h_t·e_{y_t})/τ - logsumexp_v((h_t·e_v)/τ)

τ is the temperature that the tokens were sampled at: a policy gradient is one of the distribution that was
drawn from. Rows are worked through in chunks that are recomputed in the backward pass, so the logits never
stand in memory whole, unless they are few: then it would save nothing worth the time. Unlike `next_token` each
row keeps a gradient of its own. Left out: top-k, top-p and penalties; stages that train on samples refuse them.

Shapes: B sequences, T positions, N rows, V vocabulary, D width.
"""

from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

_ROWS = 1024
_KEPT_LOGITS = 1 << 22
"""So many, 16 MiB in fp32, are kept for the backward pass; more are computed again."""


def token_logprobs(logits_BTV: Tensor, targets_BT: Tensor, temperature: float = 1.0) -> Tensor:
    """(B, T) log-probability of each target; for logits that stand in memory already."""
    return (logits_BTV / temperature).log_softmax(-1).gather(-1, targets_BT[..., None]).squeeze(-1)


def hidden_logprobs(
    hidden_BTD: Tensor, head_VD: Tensor, targets_BT: Tensor, temperature: float = 1.0, rows: int = _ROWS
) -> tuple[Tensor, Tensor]:
    """(B, T) log-probabilities with gradient, and (B, T) entropies of the distribution in nats, without.

    Both at least fp32, whatever the products run in.
    """
    hidden_ND, targets_N = hidden_BTD.flatten(0, 1), targets_BT.flatten()
    few = len(targets_N) * len(head_VD) <= _KEPT_LOGITS
    run = _chunk if few else partial(checkpoint, _chunk, use_reentrant=False)
    parts = [run(h, head_VD, t, temperature) for h, t in zip(hidden_ND.split(rows), targets_N.split(rows), strict=True)]
    logp_N, entropy_N = (torch.cat(column) for column in zip(*parts, strict=True))
    return logp_N.view_as(targets_BT), entropy_N.view_as(targets_BT)


def _chunk(hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logits_NV = torch.nn.functional.linear(hidden_ND, head_VD)
    logits_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32)) / temperature
    logp_NV = logits_NV.log_softmax(-1)
    with torch.no_grad():
        entropy_N = -(logp_NV.exp() * logp_NV).sum(-1)
    return logp_NV.gather(1, targets_N[:, None]).squeeze(1), entropy_N


def sequence_logprobs(logp_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """(B,) log-probability of each row's counted tokens together: their sum."""
    return (logp_BT * mask_BT).sum(-1)


def document_logprobs(logp_BT: Tensor, mask_BT: Tensor, document_BT: Tensor, n_documents: int) -> Tensor:
    """(n_documents,) the same for documents packed into rows; document_BT numbers them over the whole batch."""
    sums = logp_BT.new_zeros(n_documents)
    return sums.index_add(0, document_BT.flatten(), (logp_BT * mask_BT).flatten())
