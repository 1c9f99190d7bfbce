"""Any task of the package `reasoning-gym` (extra of the same name): `task=reasoning_gym task.dataset=spiral_matrix`.

Three of its ways are not taken over. Its item i is drawn from seed + i, so data sets of neighbouring seeds are
nearly the same: here a hash of the question decides on the split, whatever the seed. Its scores give credit for
parts and for any answer at all: here a score of 0.99 is right and everything else is wrong. And some of its
scoring functions `eval` what the model wrote: here they run in processes that can do no harm (`gym_scorer.py`).

Left out: its curricula and its composite data sets.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deepseek_lab.config import ConfigError, nearest
from deepseek_lab.tasks.answers import NoAnswer, answer_in, plain
from deepseek_lab.tasks.generated import GeneratedConfig, split_of
from deepseek_lab.tasks.gym_process import Score, ScoringProcess
from deepseek_lab.tasks.sandbox.runner import SandboxError
from deepseek_lab.tasks.task import SPLITS, Example, Reward, Split
from deepseek_lab.tasks.thought import keeps_form

RIGHT = 0.99


@dataclass(frozen=True, kw_only=True)
class GymExample(Example):
    """index: which item of the data set it is."""

    index: int


class ReasoningGym:
    """One data set of the package."""

    @dataclass(frozen=True, kw_only=True)
    class Config(GeneratedConfig):
        """dataset: its name there; options: of its own config; size: items that are drawn, of all splits together.

        longest_answer: in characters; scoring: `unsafe` where the machine has no filter of system calls
        """

        dataset: str = "chain_sum"
        options: dict[str, Any] | None = None
        size: int = 10_000
        longest_answer: int = 1_000
        scoring: Literal["filtered", "unsafe"] = "filtered"

        def check(self) -> None:
            super().check()
            self.require_positive("size", "longest_answer")

        def build(self) -> "ReasoningGym":
            """Raises ConfigError when the package is missing or has no such data set or options."""
            return ReasoningGym(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self._items = items_of(config)
        self._examples: dict[Split, list[Example]] = {split: [] for split in SPLITS}
        self._questions: set[str] = set()
        self._next = 0
        self._scoring = ScoringProcess(config.dataset, self._arguments(), config.scoring)
        self._scoring.require_allowed()

    def _arguments(self) -> dict[str, Any]:
        return {**(self.config.options or {}), "seed": self.config.seed, "size": self.config.size}

    @property
    def name(self) -> str:
        return self.config.dataset

    def examples(self, split: Split, count: int) -> list[Example]:
        """The first `count` items of a split. Raises ConfigError when all `size` items have fewer."""
        found = self._examples[split]
        while len(found) < count and self._next < self.config.size:
            item, index = self._items[self._next], self._next
            self._next += 1
            question = str(item["question"])
            if question not in self._questions:
                self._questions.add(question)
                example = GymExample(question=question, answer=str(item["answer"]), index=index)
                self._examples[split_of(question, self.config.held_out)].append(example)
        if len(found) < count:
            raise ConfigError(
                f"= {self.config.size} holds only {len(found)} {split} questions, not {count}", "task.size"
            )
        return found[:count]

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """1 for what the package scores as wholly right. Raises ValueError for another task's examples."""
        return [self._reward(*pair) for pair in zip(examples, completions, strict=True)]

    def vote(self, completion: str) -> str | None:
        """The answer in plain signs."""
        try:
            return plain(answer_in(completion, self.config.longest_answer))
        except NoAnswer:
            return None

    def _reward(self, example: Example, completion: str) -> Reward:
        if not isinstance(example, GymExample):
            raise ValueError(f"no question of {self.name}: {example.question!r}")
        form = {"format": float(keeps_form(completion))}
        try:
            score = self._score(example.index, answer_in(completion, self.config.longest_answer))
        except NoAnswer as why:
            return Reward(total=0.0, parts={"correct": 0.0, **form}, failure=str(why))
        except SandboxError as why:
            return Reward(total=None, parts={"correct": 0.0, **form}, failure=f"scoring failed: {why}")
        right = float(_is_right(score))
        return Reward(
            total=right, parts={"correct": right, **form}, failure=score.error, reproducible=not score.timed_out
        )

    def _score(self, index: int, answer: str) -> Score:
        """As the answer stands, and, where that is not right, in plain signs: some data sets ask for a final dot."""
        score = self._scoring.score(index, answer)
        if _is_right(score) or plain(answer) == answer:
            return score
        return self._scoring.score(index, plain(answer))


def _is_right(score: Score) -> bool:
    return score.value is not None and score.value >= RIGHT


def items_of(config: ReasoningGym.Config) -> Any:
    """The package's own data set. Raises ConfigError in one line."""
    try:
        gym = importlib.import_module("reasoning_gym")
        known = importlib.import_module("reasoning_gym.factory").DATASETS
    except ImportError:
        raise ConfigError("needs the package reasoning-gym: pip install 'deepseek-lab[reasoning-gym]'") from None
    if config.dataset not in known:
        raise ConfigError(f"is none of reasoning-gym's: {config.dataset!r}{nearest(config.dataset, known)}", "dataset")
    try:
        return gym.create_dataset(config.dataset, seed=config.seed, size=config.size, **(config.options or {}))
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"do not fit {config.dataset}: {error}", "options") from None
