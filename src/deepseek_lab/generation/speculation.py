"""Which drafts are kept, so that what is sampled follows the main model's distribution exactly.

Draft d from q is kept with probability min(1, p(d)/q(d)); at the first that is not, a token is drawn from
max(0, p - q), normalised, and the rest are dropped; when all are kept one more token is drawn from the main model
(Leviathan et al. 2023, algorithm 1; Chen et al. 2023). p and q are what the request's rules make of both models'
logits, so filters and penalties hold; greedy requests keep a draft when it is the likeliest token.

Shapes: B rows, K drafts, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepseek_lab.generation.distribution import drawn
from deepseek_lab.generation.noise import ACCEPT, DRAW, INSTEAD, uniforms
from deepseek_lab.generation.samples import Row


def verified(rows: Sequence[Row], drafts: Sequence[Sequence[int]], q_BKV: Tensor, p_BJV: Tensor) -> list[list[int]]:
    """The next 1 to K + 1 tokens of each row; p_BJV (B, K + 1, V) are the main model's after each draft."""
    depth, device = q_BKV.shape[1], q_BKV.device
    draft_BK = torch.tensor(drafts, device=device)
    p_BK, q_BK = (x_BKV.gather(2, draft_BK[..., None]).squeeze(2) for x_BKV in (p_BJV[:, :depth], q_BKV))
    counters = [row.counter(place) for row in rows for place in range(depth)]
    number_BK = torch.from_numpy(uniforms(counters, ACCEPT)).view(len(rows), depth).to(device)
    kept_B = (number_BK < p_BK / q_BK).long().cumprod(1).sum(1)
    # Behind the last draft stands a 0, so that all of p is left where every draft is kept.
    left_BJV = (p_BJV - torch.nn.functional.pad(q_BKV, (0, 0, 0, 1))).clamp(min=0)
    left_BV = left_BJV[torch.arange(len(rows), device=device), kept_B]
    kept = kept_B.tolist()
    purposes = [DRAW if n == depth else INSTEAD for n in kept]
    aims = uniforms([row.counter(n) for row, n in zip(rows, kept, strict=True)], purposes)
    last = drawn(left_BV, torch.from_numpy(aims).to(device)).tolist()
    return [[*draft[:n], token] for draft, n, token in zip(drafts, kept, last, strict=True)]
