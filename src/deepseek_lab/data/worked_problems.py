"""A made-up corpus of questions with answers, some with the thought that leads there: a base that can reason a little.

Document n is a training question of one of the tasks, a line break, and an answer: at once, or behind a thought.
A base that has read both does both, and reinforcement learning has something to choose between: what it must find
is that thinking pays.

A thought is told in equations, as the task works its questions, or in words (`12 and 38 make 50`), or changes its
language from line to line. Nobody rewards either, so a network trained by outcome alone keeps the mixture
(DeepSeek-R1 §2.2.4, language mixing); the tasks' part `language` counts the lines in equations.

Only training questions are used, so a task's validation and test stay unseen. Left out: wrong answers.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import cycle
from math import ceil
from types import MappingProxyType
from typing import Any

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.data.corpus import Corpus, CorpusConfig, Document
from deepseek_lab.tasks.task import Example, Worked, WorkedTask

_WORDS = {"+": "and", "-": "less", "*": "times", "/": "over"}
_OPERATION = re.compile(r"\s*([-+*/])\s*")


class WorkedProblems(Corpus):
    """`n_documents` documents, each a pure function of (`seed`, its number) and the tasks."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        """n_questions: of each task; more documents than that ask them again, and may answer in another way.

        turn: documents of each task in a turn, 1 where a task is not named
        thought_share: of the documents; words_share: of the lines of a thought that are told in words
        """

        tasks: dict[str, Any]
        n_documents: int = 100_000
        n_questions: int = 20_000
        turn: dict[str, int] = field(default_factory=dict)
        thought_share: float = 0.5
        words_share: float = 0.0
        seed: int = 0

        def check(self) -> None:
            self.require_positive("n_documents", "n_questions")
            self.require_not_negative("seed")
            for name in ("thought_share", "words_share"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ConfigError(f"must lie between 0 and 1, not {getattr(self, name)}", name)
            require_worked(self.tasks)
            for name, count in self.turn.items():
                if name not in self.tasks:
                    raise ConfigError(f"names {name!r}, which is none of the tasks {', '.join(self.tasks)}", "turn")
                if count < 1:
                    raise ConfigError(f"must be at least 1, not {count}", f"turn.{name}")

        def build(self) -> "WorkedProblems":
            return WorkedProblems(self)

    def __init__(self, config: Config) -> None:
        self.config = config

    @cached_property
    def _all(self) -> list[Document]:
        problems = dealt(self.config.tasks, self.config.n_questions, self.config.turn)
        return [self._document(number, *problems[number % len(problems)]) for number in range(self.config.n_documents)]

    def documents(self) -> Iterator[Document]:
        yield from self._all

    def _document(self, number: int, name: str, task: WorkedTask, example: Example) -> Document:
        draw = random.Random(f"{self.config.seed} {number}")
        return Document(f"{name}#{number}", self._text(task, example, draw), held_out_with=example.question)

    def _text(self, task: WorkedTask, example: Example, draw: random.Random) -> str:
        worked = task.worked(example, draw)
        if draw.random() >= self.config.thought_share:
            return f"{example.question}\n{worked.direct}"
        return f"{example.question}\n{_retold(worked, self.config.words_share, draw).text}"


def require_worked(tasks: dict[str, Any]) -> None:
    """Raises ConfigError unless there are tasks, all of which can show their work."""
    if not tasks:
        raise ConfigError("must name one task at least", "tasks")
    for name, config in tasks.items():
        if not isinstance(config, CheckedConfig) or not hasattr(config.build(), "worked"):  # type: ignore[attr-defined]
            raise ConfigError("is no task that can show its work", f"tasks.{name}")


def dealt(
    tasks: dict[str, Any], count: int, turn: Mapping[str, int] = MappingProxyType({})
) -> list[tuple[str, WorkedTask, Example]]:
    """The first `count` training questions of each task, dealt in turns in the order of the tasks' names.

    In a turn a task has as many as `turn` says, else one; a task whose questions are used up begins anew, until
    every task has had all of its questions. Raises ConfigError when a task has fewer than `count`.
    """
    hands = []
    for name, config in sorted(tasks.items()):
        task: WorkedTask = config.build()
        questions = [(name, task, example) for example in task.examples("train", count)]
        hands.append((turn.get(name, 1), cycle(questions)))
    turns = ceil(count / min(each for each, _ in hands))
    return [next(questions) for _ in range(turns) for each, questions in hands for _ in range(each)]


def _retold(worked: Worked, share: float, draw: random.Random) -> Worked:
    """The same with each line told in words with the chance `share`."""
    lines = [in_words(line) if draw.random() < share else line for line in worked.thought.split("\n")]
    return Worked(thought="\n".join(lines), answer=worked.answer)


def in_words(line: str) -> str:
    """`12+38=50` as `12 and 38 make 50`."""
    said = _OPERATION.sub(lambda sign: f" {_WORDS[sign[1]]} ", line)
    return said.replace("=", " make ")
