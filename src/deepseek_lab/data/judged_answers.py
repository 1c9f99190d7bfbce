"""Pairs of answers to a task's questions, of which the task prefers one: what a reward model learns from.

Both answers are what `worked` gives, drawn twice. Only the summary is written down, as it is all that a reward
model will be shown (DeepSeek-R1 §2.3.4). Only training questions are asked, so the task's validation and test
stay unseen; the reward model's own held-out pairs are of questions it has not seen either.

Left out: pairs of a policy's own answers; written to a file they are `data=preferences`.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.data.conversation import Turn
from deepseek_lab.data.corpus import CorpusConfig
from deepseek_lab.data.preference_pairs import Pair, PairCorpus
from deepseek_lab.tasks.task import Example, JudgedTask

_DRAWS_A_PAIR = 100


class JudgedAnswers(PairCorpus):
    """`n_pairs` pairs, one to a question until every question has had its turn."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        """task: one with preferences; n_questions: how many of its training questions are asked."""

        task: Any
        n_pairs: int = 4000
        n_questions: int = 2000
        seed: int = 0

        def check(self) -> None:
            self.require_positive("n_pairs", "n_questions")
            self.require_not_negative("seed")
            if not isinstance(self.task, CheckedConfig) or not hasattr(self.task.build(), "preferred"):  # type: ignore[attr-defined]
                raise ConfigError("is no task that prefers one answer to another", "task")

        def build(self) -> "JudgedAnswers":
            return JudgedAnswers(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self._task: JudgedTask = config.task.build()

    @cached_property
    def _all(self) -> list[Pair]:
        examples = self._task.examples("train", self.config.n_questions)
        numbers = range(self.config.n_pairs)
        return [self._pair(examples[n % len(examples)], random.Random(f"{self.config.seed} {n}")) for n in numbers]

    def _pair(self, example: Example, draw: random.Random) -> Pair:
        """Two answers that the task tells apart. Raises ConfigError when it never does."""
        for _ in range(_DRAWS_A_PAIR):
            first, second = (self._task.worked(example, draw).direct for _ in range(2))
            better = self._task.preferred(example, first, second)
            if better is not None:
                return _pair_of(example, first, second) if better else _pair_of(example, second, first)
        raise ConfigError(f"prefers no answer to {example.question!r} to another", "data.corpus.task")

    def pairs(self) -> Iterator[Pair]:
        yield from self._all


def _pair_of(example: Example, better: str, worse: str) -> Pair:
    question = Turn("user", example.question)
    return Pair((question, Turn("assistant", better)), (question, Turn("assistant", worse)))
