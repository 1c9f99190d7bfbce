"""What a task is: questions with answers, and a verdict on what a model wrote.

Whoever trains or measures on a task sees only this: `rewards` takes a batch, so that a reward model or a
sandbox may work in parallel, and answers with one `Reward` a completion.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Example:
    """A question as a person would ask it, and the answer it should get, each as text.

    difficulty: grows with the work; few values, so that a curriculum can keep a pass rate for each
    family: the task that asks, in a mixture of several
    """

    question: str
    answer: str
    difficulty: int = 0
    family: str = ""


@dataclass(frozen=True, kw_only=True)
class Worked:
    """An answer with the thought that leads to it: one line a step, each an equation."""

    thought: str
    answer: str

    @property
    def text(self) -> str:
        """As a model should write it."""
        return f"<think>{self.thought}</think>{self.direct}"

    @property
    def direct(self) -> str:
        """The answer without the thought."""
        return f"<answer>{self.answer}</answer>"


@dataclass(frozen=True, kw_only=True)
class Reward:
    """The verdict on one completion.

    total: what is optimised; None where nobody can tell, which leaves the completion out of its group's baseline
    parts: each a curve (`rewards/<part>/mean`)
    steps: process supervision, the value of each step with the character of the completion where it ends
    failure: why there is no answer or no verdict, in one line
    reproducible: False where the clock decided, so that another time the verdict may be another
    """

    total: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    steps: Sequence[tuple[int, float]] = ()
    failure: str | None = None
    reproducible: bool = True


class Task(Protocol):
    """Examples of three splits that share no question, and the verdict on completions."""

    @property
    def name(self) -> str:
        """Stands in the names of curves: `eval/<name>/pass@1`."""

    def examples(self, split: Split, count: int) -> list[Example]:
        """The first `count` examples of a split, always the same ones. Raises ConfigError when there are fewer."""

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """One verdict a completion, in order; `examples[i]` is what `completions[i]` answers.

        A completion is the model's whole turn, tags spelt out, also one that the prompt has opened.
        """

    def vote(self, completion: str) -> str | None:
        """The answer in a form in which equal answers are equal texts; None where there is none to be read."""


class WorkedTask(Task, Protocol):
    """A task that can show its work: what synthetic pretraining and cold-start data are made of."""

    def worked(self, example: Example, draw: random.Random) -> Worked:
        """One way to the right answer; which of several, `draw` says."""


class JudgedTask(WorkedTask, Protocol):
    """A task without right answers, of which some are preferred: what a reward model learns from."""

    def preferred(self, example: Example, first: str, second: str) -> bool | None:
        """Whether the first of two completions is preferred; None where neither is."""
