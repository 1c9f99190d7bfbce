"""Countdown: reach a number from given ones with + - * / and brackets, each used once.

A question is made from its solution: numbers are drawn, two of them are combined until one is left, and that is
the target. Nothing on the way is negative or a fraction, in an answer both may be. Whether an answer is right is
calculated exactly by our own parser (`expression.py`).

`worked` shows a search: some combinations that miss, one a line with its steps, then the one that hits. A small
model can learn each step, and to go on as long as the target is not met.

Left out: proof that a target cannot be reached, and credit for coming near it.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from deepseek_lab.config import ConfigError
from deepseek_lab.tasks.answers import NoAnswer, answer_in, plain
from deepseek_lab.tasks.combination import combined
from deepseek_lab.tasks.equations import Steps
from deepseek_lab.tasks.expression import NoExpression, parse
from deepseek_lab.tasks.generated import Drawn, GeneratedConfig, first_examples
from deepseek_lab.tasks.task import Example, Reward, Split, Worked
from deepseek_lab.tasks.verdict import verdict

OPERATIONS = ("+", "-", "*", "/")
_DRAWS_A_TRY = 20
_QUESTION = re.compile(r"make ([0-9]+) from ([0-9]+(?:, [0-9]+)*)")


class Countdown:
    """The task of one size of puzzles."""

    @dataclass(frozen=True, kw_only=True)
    class Config(GeneratedConfig):
        """use: whether an answer must use every number or may leave some out.

        max_tries: combinations that `worked` shows before the one that hits, at most
        """

        min_numbers: int = 3
        max_numbers: int = 4
        min_number: int = 1
        max_number: int = 20
        min_target: int = 1
        max_target: int = 100
        operations: list[str] = field(default_factory=lambda: list(OPERATIONS))
        use: Literal["every", "any"] = "every"
        max_tries: int = 4

        def check(self) -> None:
            super().check()
            self.require_positive("min_number", "min_target")
            self.require_not_negative("max_tries")
            if self.min_numbers < 2:
                raise ConfigError(f"must be at least 2, not {self.min_numbers}", "min_numbers")
            for what in ("numbers", "number", "target"):
                low, high = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
                if low > high:
                    raise ConfigError(f"must be at most max_{what} = {high}, not {low}", f"min_{what}")
            if self.max_numbers > 8:
                raise ConfigError(f"must be at most 8, not {self.max_numbers}", "max_numbers")
            if not self.operations or not set(self.operations) <= set(OPERATIONS):
                raise ConfigError(f"must be some of {' '.join(OPERATIONS)}, not {self.operations}", "operations")

        def build(self) -> "Countdown":
            return Countdown(self)

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def name(self) -> str:
        return "countdown"

    def examples(self, split: Split, count: int) -> list[Example]:
        """The first `count` puzzles of a split. Raises ConfigError when the sizes allow fewer."""
        return first_examples(self._draw, self.name, split, count, self.config)

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """1 for an expression of the given numbers that has the target's value, else 0."""
        return [self._reward(*pair) for pair in zip(examples, completions, strict=True)]

    def vote(self, completion: str) -> str | None:
        """The expression without its spaces."""
        try:
            return parse(plain(answer_in(completion))).text
        except (NoAnswer, NoExpression):
            return None

    def worked(self, example: Example, draw: random.Random) -> Worked:
        """A search that ends at the target with the example's own answer."""
        target, numbers = puzzle_in(example)
        missed = self._missed(numbers, target, draw)
        lines = dict.fromkeys(",".join(parse(text).steps) for text in [*missed, example.answer])
        return Worked(thought="\n".join(lines), answer=example.answer)

    def _missed(self, numbers: Sequence[int], target: int, draw: random.Random) -> list[str]:
        """Up to `max_tries` combinations that are worth something else that could be a target."""
        wanted = draw.randint(0, self.config.max_tries)
        tries = (combined(numbers, self.config.operations, draw) for _ in range(_DRAWS_A_TRY * wanted))
        missed = (a.text for a in tries if a and a.value != target and a.value <= self.config.max_target)
        return list(islice(missed, wanted))

    def _reward(self, example: Example, completion: str) -> Reward:
        target, numbers = puzzle_in(example)
        steps = Steps(given=numbers, most=self.config.max_tries + 1, each_line_anew=True)
        return verdict(completion, lambda answer: self._is_right(answer, target, numbers), steps)

    def _is_right(self, answer: str, target: int, numbers: Sequence[int]) -> bool:
        try:
            expression = parse(plain(answer))
        except NoExpression as why:
            raise NoAnswer(f"the answer is no expression: {why}") from None
        used, given = Counter(expression.numbers), Counter(numbers)
        allowed = used == given if self.config.use == "every" else used <= given
        if not allowed:
            raise NoAnswer("the answer does not use the given numbers as it should")
        return expression.value == target

    def _draw(self, source: random.Random) -> Drawn | None:
        sizes = self.config
        count = source.randint(sizes.min_numbers, sizes.max_numbers)
        numbers = [source.randint(sizes.min_number, sizes.max_number) for _ in range(count)]
        found = combined(numbers, sizes.operations, source)
        if found is None or not sizes.min_target <= found.value <= sizes.max_target or found.value in numbers:
            return None
        question = f"make {found.value} from {', '.join(map(str, numbers))}"
        example = Example(question=question, answer=found.text, difficulty=count + found.products)
        return Drawn(f"countdown {found.value} {sorted(numbers)}", example)


def puzzle_in(example: Example) -> tuple[int, list[int]]:
    """Target and numbers. Raises ValueError for another task's question."""
    match = _QUESTION.fullmatch(example.question)
    if match is None:
        raise ValueError(f"no countdown question: {example.question!r}")
    return int(match[1]), [int(number) for number in match[2].split(", ")]
