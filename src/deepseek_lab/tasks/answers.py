"""Reads the answer out of a completion: exactly one `<answer>…</answer>`, short, never evaluated.

A completion is whatever a network under training writes, so everything here is linear in its length and
nothing is guessed: two answers are none, half a number is none.
"""

import re
from fractions import Fraction

OPEN, CLOSE = "<answer>", "</answer>"
LONGEST = 100
"""Characters of an answer; what is longer is no answer to these tasks."""
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")


_DECIMAL = re.compile(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]+)?")


class NoAnswer(ValueError):
    """Why a completion holds no answer, in one line."""


def answer_in(completion: str, longest: int = LONGEST) -> str:
    """The text between the tags, without white space around it. Raises NoAnswer."""
    opened, closed = completion.count(OPEN), completion.count(CLOSE)
    if opened == 0 and closed == 0:
        raise NoAnswer("no <answer>")
    if opened != 1 or closed != 1:
        raise NoAnswer(f"{opened} <answer> and {closed} </answer>")
    start, end = completion.index(OPEN) + len(OPEN), completion.index(CLOSE)
    if end < start:
        raise NoAnswer("</answer> before <answer>")
    if end - start > longest:
        raise NoAnswer(f"an answer of more than {longest} characters")
    return completion[start:end].strip()


def whole_number(text: str) -> int:
    """A number in plain ASCII digits with or without a sign. Raises NoAnswer for anything else."""
    if len(text) > LONGEST or not _WHOLE_NUMBER.fullmatch(text):
        raise NoAnswer("the answer is no whole number")
    return int(text)


def decimal(text: str) -> Fraction:
    """A number such as `-1,234.50`, exactly. Raises NoAnswer for anything else: no unit, no sign of money."""
    if len(text) > LONGEST or not _DECIMAL.fullmatch(text):
        raise NoAnswer("the answer is no number")
    return Fraction(text.replace(",", ""))
