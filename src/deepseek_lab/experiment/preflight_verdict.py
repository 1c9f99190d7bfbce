"""What the figures before reinforcement learning say, in plain words.

The bounds are rules of thumb from small models trained here and elsewhere: reinforcement learning sharpens what
sampling finds sometimes, so something must be found, and not always; and a policy keeps to thinking only where
thinking pays. A base with pass@1 of 0.62 and a thought in half of its answers rose to 0.85; one with 0.07, whose
thoughts helped nothing, gave up thinking and fell to one constant answer.
"""

from dataclasses import dataclass
from typing import Literal

from deepseek_lab.experiment.preflight_modes import Attempted

NO_SPREAD, MOSTLY_RIGHT = 0.9, 0.5
CUT_OFF, UNREAD = 0.2, 0.5
THINKING, TWICE = 0.3, 2.0
FINDS_MORE = 1.2
PUT_OFF = 0.7


@dataclass(frozen=True)
class Verdict:
    """`go`, `doubtful` or `stop`, and the reasons, the gravest first."""

    word: Literal["go", "doubtful", "stop"]
    reasons: list[str]


def verdict(asked: Attempted, thinking: Attempted, direct: Attempted, max_new_tokens: int) -> Verdict:
    """From the figures of the three ways to ask."""
    grave = _spread(asked)
    doubts = [
        *_prompt(asked, thinking, direct),
        *_form(asked, max_new_tokens),
        *_thinking(thinking, direct),
        *([] if grave else _room(asked)),
    ]
    if grave:
        return Verdict("stop", [*grave, *doubts])
    if doubts:
        return Verdict("doubtful", doubts)
    return Verdict(
        "go", [f"{_share(1 - asked.no_spread)} of groups have spread, and sampling finds more than one attempt does"]
    )


def _spread(asked: Attempted) -> list[str]:
    if asked.no_spread < NO_SPREAD:
        return []
    said = f"{_share(asked.no_spread)} of groups have no spread: "
    if asked.pass_1 > MOSTLY_RIGHT:
        return [said + "nothing is left to learn from these questions; ask harder ones"]
    return [said + "nothing to learn from; try SFT first, or easier questions"]


def _prompt(asked: Attempted, thinking: Attempted, direct: Attempted) -> list[str]:
    """Left to itself a model does one or the other: it cannot be worse than both, unless it was put off."""
    worse = min(thinking.pass_1, direct.pass_1)
    if asked.pass_1 >= PUT_OFF * worse:
        return []
    return [
        f"pass@1 is {_share(asked.pass_1)} as asked and {_share(worse)} at least once an answer is begun: is template= "
        "what the model was trained on?"
    ]


def _form(asked: Attempted, max_new_tokens: int) -> list[str]:
    found = []
    if asked.unread > UNREAD:
        found.append(f"{_share(asked.unread)} of answers hold none that can be read; fine-tune on a few worked ones")
    if asked.cut_off > CUT_OFF:
        found.append(
            f"{_share(asked.cut_off)} of answers are cut off at rollout.max_new_tokens={max_new_tokens}; raise it, or "
            "being short is what is learnt"
        )
    return found


def _thinking(thinking: Attempted, direct: Attempted) -> list[str]:
    """Where direct answers are mostly right, half of their errors is asked in place of twice their share."""
    wanted = max(THINKING, min(TWICE * direct.pass_1, (1 + direct.pass_1) / 2))
    if thinking.pass_1 >= wanted:
        return []
    return [
        f"thinking does not pay yet: pass@1 is {_share(thinking.pass_1)} with a thought and {_share(direct.pass_1)} "
        f"without; under {_share(wanted)} the thought tends to be given up; fine-tune on worked answers first"
    ]


def _room(asked: Attempted) -> list[str]:
    if asked.pass_k >= FINDS_MORE * asked.pass_1:
        return []
    return [
        f"pass@{asked.k} is {_share(asked.pass_k)}, little more than pass@1, {_share(asked.pass_1)}: there is little "
        "that sampling finds only sometimes"
    ]


def _share(value: float) -> str:
    return f"{value:.2f}"
