"""Which drafts are kept, so that what is sampled follows the main model's distribution exactly.

Draft d from q is kept with probability min(1, p(d)/q(d)); at the first that is not, a token is drawn from
max(0, p - q), normalised, and the rest are dropped; when all are kept one more token is drawn from the main model
(Leviathan et al. 2023, algorithm 1; Chen et al. 2023). p and q are what the request's rules make of both models'
logits, so filters and penalties hold; greedy requests keep a draft when it is the likeliest token.

Shapes: B rows, K drafts, V vocabulary.
"""

from collections.abc import Sequence

from torch import Tensor

from deepseek_lab.generation.distribution import drawn
from deepseek_lab.generation.noise import ACCEPT, DRAW, INSTEAD, uniform
from deepseek_lab.generation.samples import Row


def verified(row: Row, drafts: Sequence[int], q_KV: Tensor, p_JV: Tensor) -> list[int]:
    """The next 1 to K + 1 tokens of a row; p_JV (K + 1, V) are the main model's after each draft."""
    for place, draft in enumerate(drafts):
        ratio = float(p_JV[place, draft]) / float(q_KV[place, draft])
        if not _number(row, place, ACCEPT) < ratio:
            left_V = (p_JV[place] - q_KV[place]).clamp(min=0)
            return [*drafts[:place], _token(row, place, INSTEAD, left_V)]
    return [*drafts, _token(row, len(drafts), DRAW, p_JV[len(drafts)])]


def _number(row: Row, place: int, purpose: int) -> float:
    return uniform(row.request.seed, row.sample, len(row.ids) + place, purpose)


def _token(row: Row, place: int, purpose: int, mass_V: Tensor) -> int:
    aim = mass_V.new_tensor([_number(row, place, purpose)])
    return int(drawn(mass_V[None], aim))
