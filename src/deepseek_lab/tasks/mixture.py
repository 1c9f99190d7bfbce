"""Several tasks as one: questions in turn from each, every answer judged by the task that asked.

Left out: weights. Who wants more of one task names it twice, or leaves that to a curriculum.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.tasks.task import Example, Reward, Split, Task, Worked

LEVELS_APART = 1_000
"""Between the difficulties of one task and those of the next, so that a curriculum never takes one for the other."""


class TaskMixture:
    """Tasks by name, in the order of their names."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """name: what curves call it."""

        name: str
        tasks: dict[str, Any]

        def check(self) -> None:
            if not self.tasks:
                raise ConfigError("must hold one task at least", "tasks")
            for name, config in self.tasks.items():
                if not isinstance(config, CheckedConfig) or not hasattr(config, "build"):
                    raise ConfigError(f"is no task: {config!r}", f"tasks.{name}")

        def build(self) -> "TaskMixture":
            return TaskMixture(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.tasks: dict[str, Task] = {name: task.build() for name, task in sorted(config.tasks.items())}

    @property
    def name(self) -> str:
        return self.config.name

    def examples(self, split: Split, count: int) -> list[Example]:
        """The first questions of each task, dealt in turn. Raises ConfigError when one has too few."""
        each = -(-count // len(self.tasks))
        hands = [
            [
                replace(example, family=name, difficulty=example.difficulty + place * LEVELS_APART)
                for example in task.examples(split, each)
            ]
            for place, (name, task) in enumerate(self.tasks.items())
        ]
        return [example for turn in zip(*hands, strict=True) for example in turn][:count]

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """Each task judges all its answers at once."""
        verdicts: list[Reward | None] = [None] * len(completions)
        for name, task in self.tasks.items():
            places = [place for place, example in enumerate(examples) if example.family == name]
            own = task.rewards([examples[place] for place in places], [completions[place] for place in places])
            for place, verdict in zip(places, own, strict=True):
                verdicts[place] = verdict
        return [verdict or _unknown(example) for verdict, example in zip(verdicts, examples, strict=True)]

    def vote(self, completion: str) -> str | None:
        """As the first task has it that can read an answer."""
        votes = (task.vote(completion) for task in self.tasks.values())
        return next((vote for vote in votes if vote is not None), None)

    def worked(self, example: Example, draw: random.Random) -> Worked:
        """As the task that asked works it. Raises ConfigError for one that cannot show its work."""
        task: Any = self.tasks[example.family]
        if not hasattr(task, "worked"):
            raise ConfigError("is no task that can show its work", f"tasks.{example.family}")
        worked: Worked = task.worked(example, draw)
        return worked


def _unknown(example: Example) -> Reward:
    return Reward(total=None, failure=f"no task of the mixture asks {example.question!r}")
