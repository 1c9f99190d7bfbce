"""A random way to combine numbers with + - * /: what countdown puzzles and tries at them are made of.

Every intermediate value is a whole number above 0, and no step is idle (nothing times 1, nothing divided by 1).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_NUMBER = 3


@dataclass(frozen=True)
class Combination:
    """An expression with no more brackets than it needs, its value, and how strongly its last sign binds."""

    text: str
    value: int
    binding: int = _NUMBER

    @property
    def products(self) -> int:
        """How many signs are * or /."""
        return self.text.count("*") + self.text.count("/")


def combined(numbers: Sequence[int], operations: Sequence[str], source: random.Random) -> Combination | None:
    """All numbers in one expression; None when the draws ran into a pair that no operation is good for."""
    left = [Combination(str(number), number) for number in numbers]
    while len(left) > 1:
        first, second = (left.pop(source.randrange(len(left))) for _ in range(2))
        joined = _joined(first, source.choice(operations), second)
        if joined is None:
            return None
        left.append(joined)
    return left[0]


def _joined(first: Combination, sign: str, second: Combination) -> Combination | None:
    value = _value(first.value, sign, second.value)
    if value is None:
        return None
    binding = _PRECEDENCE[sign]
    before = f"({first.text})" if first.binding < binding else first.text
    tight = second.binding < binding or (second.binding == binding and sign in "-/")
    after = f"({second.text})" if tight else second.text
    return Combination(f"{before}{sign}{after}", value, binding)


def _value(first: int, sign: str, second: int) -> int | None:
    """None where the result would be no whole number above 0, or the step idle."""
    if sign == "+":
        return first + second
    if sign == "-":
        return first - second if first > second else None
    if 1 in (first, second):
        return None
    if sign == "*":
        return first * second
    return first // second if first % second == 0 else None
