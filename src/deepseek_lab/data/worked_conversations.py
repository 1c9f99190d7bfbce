"""Conversations made of worked questions: cold-start data, in which every answer stands behind a clean thought.

DeepSeek-R1 §2.3.1 starts its reinforcement learning from thousands of long thoughts in a readable form. Here the
tasks write them: all in equations, one step a line. Only training questions are used.

Left out: thoughts of a model, which rejection sampling gives (`data=instructions`).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deepseek_lab.data.conversation import Conversation, ConversationCorpus, Turn
from deepseek_lab.data.corpus import CorpusConfig
from deepseek_lab.data.worked_problems import dealt, require_worked


class WorkedConversations(ConversationCorpus):
    """`n_questions` of each task, one conversation each."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        tasks: dict[str, Any]
        n_questions: int = 1000
        seed: int = 0

        def check(self) -> None:
            self.require_positive("n_questions")
            self.require_not_negative("seed")
            require_worked(self.tasks)

        def build(self) -> "WorkedConversations":
            return WorkedConversations(self)

    def __init__(self, config: Config) -> None:
        self.config = config

    @cached_property
    def _all(self) -> list[Conversation]:
        made = []
        for number, (name, task, example) in enumerate(dealt(self.config.tasks, self.config.n_questions)):
            worked = task.worked(example, random.Random(f"{self.config.seed} {number}"))
            turns = (Turn("user", example.question), Turn("assistant", worked.text))
            made.append(Conversation(f"{name}#{number}", turns, held_out_with=example.question))
        return made

    def conversations(self) -> Iterator[Conversation]:
        yield from self._all
