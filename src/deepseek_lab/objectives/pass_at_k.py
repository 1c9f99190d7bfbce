"""How often a model solves a question in k attempts, and what its attempts say by majority.

`pass_at_k` is the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374, eq. 1):
pass@k = mean over questions of 1 − C(n − c, k) / C(n, k), for n attempts of which c are right. Taking the
first k of n attempts instead is right on average too, but throws the others away.

Pure: counts and votes in, shares out. Left out: intervals (report/proportions).
"""

import math
from collections import Counter
from collections.abc import Sequence


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that k of the n attempts, drawn without putting back, hold a right one.

    Raises ValueError unless 1 ≤ k ≤ n and 0 ≤ correct ≤ n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"k must be from 1 to the {n} attempts, not {k}")
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} of {n} attempts cannot be right")
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


def majority_share(votes: Sequence[str | None], right: Sequence[bool]) -> float:
    """1 when the answer given most often is right (Wang et al. 2022, self-consistency), 0 when it is not.

    votes: the answers in a form in which equal ones are equal; None where an attempt gave none, which is no vote
    right: whether each attempt's answer is right
    Answers that tie for the first place share it: the value is the chance that a draw among them is right.
    """
    counted = Counter(vote for vote in votes if vote is not None)
    if not counted:
        return 0.0
    most = max(counted.values())
    winners = {vote for vote, count in counted.items() if count == most}
    correct = {vote for vote, is_right in zip(votes, right, strict=True) if is_right}
    return len(winners & correct) / len(winners)
