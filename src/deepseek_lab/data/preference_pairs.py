"""Pairs of answers to the same question, of which one is preferred: from files, or made by a hidden rule.

Files are jsonl in the forms that preference sets are published in (`chat_rows`).

The embedded pairs take questions and right answers of `embedded_instructions` and dress each answer up twice;
the hidden rule prefers fewer words around it, and a right answer to a wrong one before all. What a model has
learnt can therefore be held against the rule itself (`preferred_by_rule`).

Left out: degrees of preference, ties, more than two answers.
"""

import random
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from deepseek_lab.config import ConfigError
from deepseek_lab.data.chat_rows import Pair as Pair
from deepseek_lab.data.chat_rows import pair_of
from deepseek_lab.data.conversation import Conversation, ConversationCorpus, Turn
from deepseek_lab.data.conversation_files import JsonLines, question_of
from deepseek_lab.data.corpus import CorpusConfig
from deepseek_lab.data.embedded_instructions import EmbeddedInstructions
from deepseek_lab.input_files import row_files

BEFORE = ("", "Sure! ", "Well, let me think about that. ", "As an assistant I am glad to help: ")
AFTER = ("", " Thank you for asking.", " I hope that this answer helps you a lot.")


class PairCorpus(ConversationCorpus):
    """Pairs; as conversations the chosen one and the rejected one of each in turn."""

    @abstractmethod
    def pairs(self) -> Iterator[Pair]:
        """Every pair, in the same order at each call. Raises DataError when there is none."""

    def conversations(self) -> Iterator[Conversation]:
        for number, pair in enumerate(self.pairs()):
            question = question_of(pair.chosen)
            yield Conversation(f"{number} chosen", pair.chosen, question, pair.notes)
            yield Conversation(f"{number} rejected", pair.rejected, question)


class PairFiles(JsonLines, PairCorpus):
    """A pair a line."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        path: str

        def build(self) -> "PairFiles":
            return PairFiles(row_files(self.path))

    def pairs(self) -> Iterator[Pair]:
        for where, row in self.rows():
            yield pair_of(row, where)


class EmbeddedPreferences(PairCorpus):
    """`n_pairs` pairs that a hidden rule has judged; `wrong_share` of the candidates carry a wrong answer."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        n_pairs: int = 4000
        wrong_share: float = 0.25
        seed: int = 0

        def check(self) -> None:
            self.require_positive("n_pairs")
            self.require_not_negative("seed")
            if not 0 <= self.wrong_share <= 1:
                raise ConfigError(f"must lie between 0 and 1, not {self.wrong_share}", "wrong_share")

        def build(self) -> "EmbeddedPreferences":
            return EmbeddedPreferences(self.n_pairs, self.wrong_share, self.seed)

    def __init__(self, n_pairs: int, wrong_share: float, seed: int) -> None:
        self.n_pairs, self.wrong_share, self.seed = n_pairs, wrong_share, seed

    @cached_property
    def _all(self) -> list[Pair]:
        draw = random.Random(self.seed)
        known = list(EmbeddedInstructions(self.n_pairs, self.seed).conversations())
        pairs = []
        for one in known:
            question, right = one.turns
            others = [c.turns[1].content for c in draw.sample(known, 5)]
            wrong = next((other for other in others if other != right.content), right.content[::-1])
            pairs.append(self._judged(draw, question, right.content, wrong))
        return pairs

    def _judged(self, draw: random.Random, question: Turn, right: str, wrong: str) -> Pair:
        """Two candidates that the rule tells apart."""
        while True:
            answers = [wrong if draw.random() < self.wrong_share else right for _ in range(2)]
            texts = [draw.choice(BEFORE) + answer + draw.choice(AFTER) for answer in answers]
            better, worse = sorted(texts, key=lambda text: preferred_by_rule(text, right), reverse=True)
            if preferred_by_rule(better, right) > preferred_by_rule(worse, right):
                return Pair((question, Turn("assistant", better)), (question, Turn("assistant", worse)))

    def pairs(self) -> Iterator[Pair]:
        yield from self._all


def preferred_by_rule(text: str, right: str) -> float:
    """The hidden rule: 10 for holding the right answer, less one for each word around it."""
    words = len(text.split()) - len(right.split())
    return 10.0 * (right in text) - max(words, 0)
