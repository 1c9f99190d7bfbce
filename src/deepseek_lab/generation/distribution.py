"""From logits to the distribution that a request asks for, and from a uniform number to its token.

A token is the inverse of the cumulative distribution at the request's own uniform number, in float64: two batches
agree unless the number falls into the gap that their rounding leaves at an edge.

Shapes: B rows, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepseek_lab.generation.request import Sampling


def penalised(logits_BV: Tensor, rules: Sequence[Sampling], seen: Sequence[Sequence[int]]) -> Tensor:
    """Logits after each row's repetition penalty; `seen` are the tokens of its prompt and completion."""
    if all(rule.repetition_penalty == 1 for rule in rules):
        return logits_BV
    device, n_rows = logits_BV.device, len(rules)
    places = [(row, token) for row in range(n_rows) if rules[row].repetition_penalty != 1 for token in set(seen[row])]
    index = torch.tensor(places, device=device).T
    seen_BV = torch.zeros_like(logits_BV, dtype=torch.bool).index_put_((index[0], index[1]), torch.tensor(True))
    penalty_B1 = torch.tensor([[rule.repetition_penalty] for rule in rules], dtype=logits_BV.dtype, device=device)
    changed_BV = torch.where(logits_BV > 0, logits_BV / penalty_B1, logits_BV * penalty_B1)
    return torch.where(seen_BV, changed_BV, logits_BV)


def probabilities(logits_BV: Tensor, rules: Sequence[Sampling]) -> Tensor:
    """Each row's distribution (float64) under its temperature and filters; greedy rows are one-hot."""
    device = logits_BV.device
    heat_B = torch.tensor([rule.temperature or 1.0 for rule in rules], dtype=torch.float64, device=device)
    p_BV = (logits_BV.double() / heat_B[:, None]).softmax(-1)
    if any(rule.filters for rule in rules):
        p_BV = _filtered(p_BV, rules)
    greedy_B = torch.tensor([rule.temperature == 0 for rule in rules], device=device)
    if bool(greedy_B.any()):
        likeliest_BV = torch.zeros_like(p_BV).scatter_(1, logits_BV.argmax(-1, keepdim=True), 1.0)
        p_BV = torch.where(greedy_B[:, None], likeliest_BV, p_BV)
    return p_BV


def _filtered(p_BV: Tensor, rules: Sequence[Sampling]) -> Tensor:
    """top_k, top_p, min_p, one after the other, each on what the one before left; ties fall to the lower id."""
    device, n_vocabulary = p_BV.device, p_BV.shape[1]

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=device)[:, None]

    sorted_BV, order_BV = p_BV.sort(dim=-1, descending=True, stable=True)
    rank_V = torch.arange(n_vocabulary, device=device)
    sorted_BV = sorted_BV * (rank_V < column([rule.top_k or n_vocabulary for rule in rules]))
    sorted_BV = sorted_BV / sorted_BV.sum(-1, keepdim=True)
    before_BV = sorted_BV.cumsum(-1) - sorted_BV
    top_p_B1 = column([rule.top_p for rule in rules])
    sorted_BV = sorted_BV * ((before_BV < top_p_B1) | (top_p_B1 >= 1) | (rank_V == 0))
    sorted_BV = sorted_BV * (sorted_BV >= column([rule.min_p for rule in rules]) * sorted_BV[:, :1])
    sorted_BV = sorted_BV / sorted_BV.sum(-1, keepdim=True)
    return torch.zeros_like(p_BV).scatter_(1, order_BV, sorted_BV)


def drawn(p_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """(B, V) distributions, (B,) uniform numbers in [0, 1) -> (B,) tokens, none of probability 0."""
    cumulative_BV = p_BV.cumsum(-1)
    aim_B1 = (uniform_B * cumulative_BV[:, -1])[:, None]
    token_B = torch.searchsorted(cumulative_BV, aim_B1, right=True).squeeze(1)
    # A product that rounds up to the whole mass would point behind the last token that has any.
    last_B = p_BV.shape[1] - 1 - (p_BV.flip(-1) > 0).int().argmax(-1)
    return torch.minimum(token_B, last_B)
