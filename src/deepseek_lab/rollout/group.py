"""One question with the answers drawn to it, as text and as tokens: what rollouts work on and transcripts show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deepseek_lab.generation import Completion
from deepseek_lab.rollout.experience import Sums
from deepseek_lab.tasks.task import Example, Reward
from deepseek_lab.text.reasoning import CLOSE, OPEN


@dataclass(frozen=True, kw_only=True)
class Group:
    """`answers[i]`, `forms[i]`: the weighted reward of completion i and that for its form (None: not rewarded)."""

    example: Example
    prompt: tuple[int, ...]
    completions: Sequence[Completion]
    said: Sequence[str]
    verdicts: Sequence[Reward]
    answers: Sequence[float]
    forms: Sequence[float | None]

    @property
    def rewards(self) -> list[float]:
        """Answer and form together; NaN where nobody could tell."""
        return [answer + (form or 0.0) for answer, form in zip(self.answers, self.forms, strict=True)]

    @property
    def judged(self) -> list[float]:
        """The rewards that there are."""
        return [reward for reward in self.rewards if reward == reward]

    @property
    def has_spread(self) -> bool:
        """Whether its answers are worth different rewards."""
        return bool(self.judged) and max(self.judged) > min(self.judged)

    @property
    def n_right(self) -> int:
        """Answers that the task calls right."""
        return sum(is_right(verdict) for verdict in self.verdicts)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each answer."""
        return [len(completion.ids) for completion in self.completions]


def is_right(verdict: Reward) -> bool:
    """The part `correct` where the task has one, else the whole reward; an answer nobody can judge is not right."""
    correct = verdict.parts.get("correct", verdict.total)
    return verdict.total is not None and correct is not None and correct >= 1.0


def sums_of(groups: Sequence[Group]) -> Sums:
    """The curves of what was drawn."""
    rewards = [reward for group in groups for reward in group.judged]
    lengths = [length for group in groups for length in group.lengths]
    cut = [completion.finish_reason == "length" for group in groups for completion in group.completions]
    thought = [OPEN in text and text.find(CLOSE) > text.find(OPEN) for group in groups for text in group.said]
    failures = [verdict.total is None for group in groups for verdict in group.verdicts]
    return {
        "reward": _sum(rewards),
        "reward_std": _sum([_deviation(group.judged) for group in groups]),
        "frac_reward_zero_std": _sum([not group.has_spread for group in groups]),
        "completions/mean_length": _sum(lengths),
        "completions/clipped_ratio": _sum(cut),
        "completions/think_ratio": _sum(thought),
        "sampling/failures": _sum(failures),
        **_parts([verdict.parts for group in groups for verdict in group.verdicts]),
    }


def _parts(each: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    names = dict.fromkeys(name for parts in each for name in parts)
    return {f"rewards/{name}/mean": _sum([parts[name] for parts in each if name in parts]) for name in names}


def _sum(values: Sequence[float]) -> tuple[float, float]:
    return float(sum(values)), float(len(values))


def _deviation(rewards: Sequence[float]) -> float:
    """Of the sample, as advantages have it."""
    if len(rewards) < 2:
        return 0.0
    mean = sum(rewards) / len(rewards)
    return float((sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1)) ** 0.5)
