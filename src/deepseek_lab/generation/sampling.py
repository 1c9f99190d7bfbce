"""From logits to a token: greedy, temperature and top-k.

Left out: nucleus, min-p, penalties and per-request noise; they belong to the generation engine.

Shapes: B rows, V vocabulary.
"""

import torch
from torch import Tensor


def next_token(
    logits_BV: Tensor, temperature: float, top_k: int | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """(B, V) logits -> (B,) token ids; temperature 0 takes the likeliest.

    `generator` keeps sampling apart from torch's global random state, which training owns.
    Raises ValueError for a negative temperature or a top_k under 1.
    """
    if temperature < 0:
        raise ValueError(f"temperature must not be negative, not {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}")
    if temperature == 0:
        return logits_BV.argmax(dim=-1)
    scaled_BV = logits_BV.float() / temperature
    if top_k is not None and top_k < scaled_BV.shape[-1]:
        kth_B1 = scaled_BV.topk(top_k, dim=-1).values[:, -1:]
        scaled_BV = scaled_BV.masked_fill(scaled_BV < kth_B1, float("-inf"))
    return torch.multinomial(scaled_BV.softmax(dim=-1), 1, generator=generator).squeeze(1)
