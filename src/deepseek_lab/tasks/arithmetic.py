"""Sums and products of whole numbers: the smallest task on which thinking step by step can pay.

Questions are drawn without end from a seed. Which split a question belongs to is a hash of its numbers in
order of size: splits share no question, and not even one with its terms exchanged. Only the answer is
rewarded; that it stands in its tags is a part of its own, for a curve.

Left out: subtraction, brackets, and credit for an answer that is nearly right.
"""

import hashlib
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.tasks.answers import NoAnswer, answer_in, whole_number
from deepseek_lab.tasks.task import Example, Reward, Split

_SIGNS = {"sum": " + ", "product": " * "}
_FRUITLESS_DRAWS = 10_000
"""Draws in a row without a new question after which there are taken to be no more."""


class Arithmetic:
    """The task of one operation and size of numbers."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """min_digits, max_digits: of each term; held_out: share of all questions in validation, and again in test."""

        operation: Literal["sum", "product"]
        min_terms: int = 2
        max_terms: int = 3
        min_digits: int = 1
        max_digits: int = 2
        held_out: float = 0.1
        seed: int = 0

        def check(self) -> None:
            self.require_positive("min_digits")
            self.require_not_negative("seed")
            if not 2 <= self.min_terms <= self.max_terms:
                raise ConfigError(f"must be from 2 to max_terms = {self.max_terms}, not {self.min_terms}", "min_terms")
            if self.min_digits > self.max_digits:
                raise ConfigError(f"must be at most max_digits = {self.max_digits}", "min_digits")
            if not 0 < self.held_out < 0.5:
                raise ConfigError(f"must be above 0 and under 0.5, not {self.held_out}", "held_out")

        def build(self) -> "Arithmetic":
            return Arithmetic(self)

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def name(self) -> str:
        """`sums` or `products`."""
        return f"{self.config.operation}s"

    def examples(self, split: Split, count: int) -> list[Example]:
        """The first `count` questions of a split. Raises ConfigError when the sizes allow fewer."""
        found: dict[str, Example] = {}
        fruitless = 0
        for terms in self._draws(split):
            if len(found) == count:
                break
            example = self._example(terms)
            fruitless = 0 if example.question not in found else fruitless + 1
            found.setdefault(example.question, example)
            if fruitless > _FRUITLESS_DRAWS:
                raise ConfigError(f"allow only {len(found)} or so {split} questions, not {count}", "terms and digits")
        return list(found.values())

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """1 for the right number in its tags, else 0; parts `correct` and `format`."""
        return [self._reward(*pair) for pair in zip(examples, completions, strict=True)]

    def vote(self, completion: str) -> str | None:
        """The number without sign and zeros before it."""
        try:
            return str(whole_number(answer_in(completion)))
        except NoAnswer:
            return None

    def _reward(self, example: Example, completion: str) -> Reward:
        try:
            right = whole_number(answer_in(completion)) == int(example.answer)
        except NoAnswer as why:
            return Reward(total=0.0, parts={"correct": 0.0, "format": 0.0}, failure=str(why))
        return Reward(total=float(right), parts={"correct": float(right), "format": 1.0})

    def _draws(self, split: Split) -> Iterator[list[int]]:
        """Terms of questions of one split, without end."""
        source = random.Random(f"{self.config.seed} {self.config.operation} {split}")
        fruitless = 0
        while fruitless <= _FRUITLESS_DRAWS:
            count = source.randint(self.config.min_terms, self.config.max_terms)
            digits = [source.randint(self.config.min_digits, self.config.max_digits) for _ in range(count)]
            terms = [source.randrange(10 ** (n - 1) if n > 1 else 0, 10**n) for n in digits]
            fruitless += 1
            if self._split_of(terms) == split:
                fruitless = 0
                yield terms
        raise ConfigError(f"allow no question of {split}", "terms and digits")

    def _split_of(self, terms: Sequence[int]) -> Split:
        words = f"{self.config.operation} {sorted(terms)}"
        place = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8]) / 2**64
        if place < self.config.held_out:
            return "validation"
        return "test" if place < 2 * self.config.held_out else "train"

    def _example(self, terms: Sequence[int]) -> Example:
        value = sum(terms) if self.config.operation == "sum" else math.prod(terms)
        return Example(question=_SIGNS[self.config.operation].join(map(str, terms)) + " = ?", answer=str(value))
