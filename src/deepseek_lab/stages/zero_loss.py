"""One plain line when the loss reads 0: the first question of everyone who starts with reinforcement learning."""

import sys
from collections.abc import Mapping

_READS_ZERO = 5e-5
"""A loss below it is printed as 0.0000."""


class ZeroLoss:
    """Says it once a run, and once more when there is no gradient either."""

    def __init__(self) -> None:
        self._said: set[bool] = set()

    def look(self, latest: Mapping[str, float], speaks: bool) -> None:
        """Reads the last values of the curves; only a rank that `speaks` prints."""
        if abs(latest["train/loss"]) >= _READS_ZERO:
            return
        teaches = latest["train/grad_norm"] > 0
        if teaches not in self._said and speaks:
            print(_line(latest, teaches), file=sys.stderr, flush=True)
        self._said.add(teaches)


def _line(latest: Mapping[str, float], teaches: bool) -> str:
    if teaches:
        norm = latest["train/grad_norm"]
        why = "ratios start at 1 and the advantages of a group sum to 0; its gradient does not vanish"
        return (
            f"the loss reads 0 and that is no failure: {why} (norm {norm:.2g}). Watch reward and eval/*, not the loss"
        )
    share = latest["frac_reward_zero_std"]
    why = f"in {share:.0%} of the groups all answers are worth the same, so no answer is better than another"
    return (
        f"the loss and its gradient are 0: {why}. Easier questions, a better start or more answers a group would help"
    )
