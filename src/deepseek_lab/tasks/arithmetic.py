"""Sums and products of whole numbers: the smallest task on which thinking step by step can pay.

Questions are drawn without end from a seed; splits share not even a question with its terms exchanged.

A sum is worked by running totals (`12+38=50`), or place by place (`12+30=42`, `42+8=50`), which is longer and
asks less of each step. A product adds up the products of its digits (`40*30=1200`, …).

Left out: subtraction, brackets, and credit for an answer that is nearly right.
"""

import math
import operator
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from deepseek_lab.config import ConfigError
from deepseek_lab.tasks.answers import NoAnswer, answer_in, whole_number
from deepseek_lab.tasks.equations import Steps
from deepseek_lab.tasks.generated import Drawn, GeneratedConfig, first_examples
from deepseek_lab.tasks.task import Example, Reward, Split, Worked
from deepseek_lab.tasks.verdict import verdict

_SIGNS = {"sum": " + ", "product": " * "}


class Arithmetic:
    """The task of one operation and size of numbers."""

    @dataclass(frozen=True, kw_only=True)
    class Config(GeneratedConfig):
        """min_digits, max_digits: of each term; thought: how `worked` goes about a sum."""

        operation: Literal["sum", "product"]
        min_terms: int = 2
        max_terms: int = 3
        min_digits: int = 1
        max_digits: int = 2
        thought: Literal["totals", "places", "either"] = "either"

        def check(self) -> None:
            super().check()
            self.require_positive("min_digits")
            if not 2 <= self.min_terms <= self.max_terms:
                raise ConfigError(f"must be from 2 to max_terms = {self.max_terms}, not {self.min_terms}", "min_terms")
            if self.min_digits > self.max_digits:
                raise ConfigError(f"must be at most max_digits = {self.max_digits}", "min_digits")

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
        return first_examples(self._draw, self.config.operation, split, count, self.config)

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """1 for the right number in its tags, else 0."""
        return [self._reward(*pair) for pair in zip(examples, completions, strict=True)]

    def vote(self, completion: str) -> str | None:
        """The number without sign and zeros before it."""
        try:
            return str(whole_number(answer_in(completion)))
        except NoAnswer:
            return None

    def worked(self, example: Example, draw: random.Random) -> Worked:
        """The answer with its calculation, an equation a line."""
        terms = terms_of(example)
        if self.config.operation == "product":
            return Worked(thought="\n".join(product_lines(terms)), answer=example.answer)
        style = self.config.thought
        by_place = style == "places" or (style == "either" and draw.random() < 0.5)
        return Worked(thought="\n".join(sum_lines(terms, by_place)), answer=example.answer)

    def _reward(self, example: Example, completion: str) -> Reward:
        right = int(example.answer)
        return verdict(completion, lambda answer: whole_number(answer) == right, self._steps(terms_of(example)))

    def _steps(self, terms: Sequence[int]) -> Steps:
        """Given are terms, products on the way, and the places of both; the longer way has as many lines as count."""
        if self.config.operation == "sum":
            known, lines = terms, sum_lines(terms, by_place=True)
        else:
            known, lines = [*terms, *accumulate(terms[:-1], operator.mul)], product_lines(terms)
        return Steps(given={part for number in known for part in (number, *places(number))}, most=len(lines))

    def _draw(self, source: random.Random) -> Drawn:
        count = source.randint(self.config.min_terms, self.config.max_terms)
        digits = [source.randint(self.config.min_digits, self.config.max_digits) for _ in range(count)]
        terms = [source.randrange(10 ** (n - 1) if n > 1 else 0, 10**n) for n in digits]
        value = sum(terms) if self.config.operation == "sum" else math.prod(terms)
        question = _SIGNS[self.config.operation].join(map(str, terms)) + " = ?"
        example = Example(question=question, answer=str(value), difficulty=sum(digits))
        return Drawn(f"{self.config.operation} {sorted(terms)}", example)


def terms_of(example: Example) -> list[int]:
    """The numbers of a question."""
    return [int(digits) for digits in re.findall(r"[0-9]+", example.question)]


def places(number: int) -> list[int]:
    """The digits that are not 0 with the zeros behind them: 407 is 400 and 7."""
    digits = str(number)
    return [int(digit) * 10 ** (len(digits) - 1 - place) for place, digit in enumerate(digits) if digit != "0"]


def sum_lines(terms: Sequence[int], by_place: bool) -> list[str]:
    """Running totals, no line twice; `by_place`: a term's hundreds first, then its tens, then its ones."""
    lines, total = [], terms[0]
    for term in terms[1:]:
        for part in places(term) if by_place and term else [term]:
            lines.append(f"{total}+{part}={total + part}")
            total += part
    return list(dict.fromkeys(lines))


def product_lines(terms: Sequence[int]) -> list[str]:
    """Each digit by each digit, and the running total, no line twice."""
    lines, total = [], terms[0]
    for factor in terms[1:]:
        total, added = _multiplied(total, factor)
        lines += added
    return list(dict.fromkeys(lines))


def _multiplied(first: int, second: int) -> tuple[int, list[str]]:
    pairs = [(a, b) for a in places(first) for b in places(second)]
    if len(pairs) < 2 or 1 in (first, second):
        return first * second, [f"{first}*{second}={first * second}"]
    total, lines = 0, []
    for a, b in pairs:
        lines.append(f"{a}*{b}={a * b}")
        if total:
            lines.append(f"{total}+{a * b}={total + a * b}")
        total += a * b
    return total, lines
