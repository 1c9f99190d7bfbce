"""The value of an expression of whole numbers with + - * / and brackets, exact, and never by `eval`.

What is read was written by a network under training: length, digits and depth are bounded, nothing recurses,
and whatever is no expression is refused with the reason.

The real minus is one, too. Left out: powers, decimals, other signs for times and divided by. A sign may stand before a
number only where an expression or a bracket begins.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction

LONGEST = 200
"""Characters of an expression; what is longer is refused unread."""
MOST_DIGITS = 20
_TOKEN = re.compile(r"[ \t]*(?:([0-9]+)|([-+*/()]))")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


class NoExpression(ValueError):
    """Why a text is no expression or has no value, in one line."""


@dataclass(frozen=True)
class Expression:
    """value: exact; numbers: as they stand in the text, in order; steps: `8*3=24`, in the order of calculation.

    text: without spaces, in plain signs
    """

    value: Fraction
    numbers: list[int]
    steps: list[str]
    text: str


def parse(text: str) -> Expression:
    """Reads a whole text in one pass. Raises NoExpression."""
    if len(text) > LONGEST:
        raise NoExpression(f"more than {LONGEST} characters")
    reader = _Reader()
    text, place = text.replace("\N{MINUS SIGN}", "-").rstrip(" \t"), 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise NoExpression(f"{text[place]!r} is no part of an expression")
        place = match.end()
        number, sign = match.groups()
        if number is not None:
            reader.number(number)
        else:
            reader.sign(sign)
    return reader.finished("".join(text.split()))


@dataclass
class _Reader:
    """Dijkstra's two stacks. `wanted`: whether a number or an opening bracket comes next."""

    values: list[Fraction] = field(default_factory=list)
    signs: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    wanted: bool = True
    negative: bool | None = None  # the sign before a number, if there is one

    def number(self, digits: str) -> None:
        if not self.wanted:
            raise NoExpression("two numbers without a sign between them")
        if len(digits) > MOST_DIGITS:
            raise NoExpression(f"a number of more than {MOST_DIGITS} digits")
        number = -int(digits) if self.negative else int(digits)
        self.numbers.append(number)
        self.values.append(Fraction(number))
        self.wanted, self.negative = False, None

    def sign(self, sign: str) -> None:
        if sign == ")":
            self._close()
        elif sign == "(":
            if not self.wanted or self.negative is not None:
                raise NoExpression("a bracket opens where a sign is due")
            self.signs.append(sign)
        elif self.wanted:
            self._before_a_number(sign)
        else:
            while self.signs and self.signs[-1] != "(" and _PRECEDENCE[self.signs[-1]] >= _PRECEDENCE[sign]:
                self._combine()
            self.signs.append(sign)
            self.wanted = True

    def _before_a_number(self, sign: str) -> None:
        begins = not self.values if not self.signs else self.signs[-1] == "("
        if sign not in "+-" or not begins or self.negative is not None:
            raise NoExpression(f"{sign} where a number is due")
        self.negative = sign == "-"

    def _close(self) -> None:
        if self.wanted:
            raise NoExpression("a bracket closes where a number is due")
        while self.signs and self.signs[-1] != "(":
            self._combine()
        if not self.signs:
            raise NoExpression("a bracket closes that was never opened")
        self.signs.pop()

    def _combine(self) -> None:
        sign, right, left = self.signs.pop(), self.values.pop(), self.values.pop()
        if sign == "/" and right == 0:
            raise NoExpression("divides by zero")
        results = {"+": left + right, "-": left - right, "*": left * right}
        value = left / right if sign == "/" else results[sign]
        self.values.append(value)
        self.steps.append(f"{left}{sign}{right}={value}")

    def finished(self, text: str) -> Expression:
        if self.wanted:
            raise NoExpression("ends where a number is due" if self.values else "empty")
        while self.signs:
            if self.signs[-1] == "(":
                raise NoExpression("a bracket is never closed")
            self._combine()
        return Expression(self.values[0], self.numbers, self.steps, text)
