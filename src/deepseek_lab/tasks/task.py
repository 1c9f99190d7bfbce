"""What a verifiable task is: questions with answers, and a verdict on what a model wrote.

Whoever trains or measures on a task sees only this: `rewards` takes a batch, so that a reward model or a
sandbox may work in parallel, and answers with one `Reward` a completion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Example:
    """A question as a person would ask it, and the answer it should get, each as text."""

    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Reward:
    """The verdict on one completion.

    total: what is optimised; None where nobody can tell, which leaves the completion out of its group's baseline
    parts: each a curve (`rewards/<part>/mean`)
    steps: process supervision, the value of each step with the character of the completion where it ends
    failure: why there is no answer or no verdict, in one line
    """

    total: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    steps: Sequence[tuple[int, float]] = ()
    failure: str | None = None


class Task(Protocol):
    """Examples of three splits that share no question, and the verdict on completions."""

    @property
    def name(self) -> str:
        """Stands in the names of curves: `eval/<name>/pass@1`."""

    def examples(self, split: Split, count: int) -> list[Example]:
        """The first `count` examples of a split, always the same ones. Raises ConfigError when there are fewer."""

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """One verdict a completion, in order; `examples[i]` is what `completions[i]` answers."""

    def vote(self, completion: str) -> str | None:
        """The answer in a form in which equal answers are equal texts; None where there is none to be read."""
