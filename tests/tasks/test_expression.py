"""Expressions: Python's own reading of them agrees, and nothing else is read at all."""

import contextlib
import random
import time
from fractions import Fraction

import pytest

from deepseek_lab.tasks.expression import LONGEST, NoExpression, parse


def as_python(text):
    """The value by Python's parser: the reference, for texts made here only."""
    exact = "".join(f"Fraction({part})" if part.isdigit() else part for part in pieces(text))
    return eval(exact, {"Fraction": Fraction})


def pieces(text):
    run = ""
    for letter in text:
        if letter.isdigit():
            run += letter
            continue
        yield from filter(None, (run, letter))
        run = ""
    yield run


def drawn(source, depth=0):
    if depth == 4 or source.random() < 0.3:
        return str(source.randrange(30))
    left, right = drawn(source, depth + 1), drawn(source, depth + 1)
    text = f"{left}{source.choice(['', ' '])}{source.choice('+-*/')} {right}"
    return f"({text})" if source.random() < 0.5 else text


def test_values_are_those_of_python():
    source, read = random.Random(0), 0
    for _ in range(3000):
        text = drawn(source)
        if len(text) > LONGEST:
            continue
        try:
            expected = as_python(text)
        except ZeroDivisionError:
            with pytest.raises(NoExpression, match="zero"):
                parse(text)
            continue
        assert parse(text).value == expected, text
        read += 1
    assert read > 1000


def test_numbers_and_steps_in_order():
    expression = parse("(8+3) * (5-1) / 4")
    assert expression.numbers == [8, 3, 5, 1, 4]
    assert expression.steps == ["8+3=11", "5-1=4", "11*4=44", "44/4=11"]


@pytest.mark.parametrize(("text", "value"), [("-5+9", 4), ("+3", 3), ("2*(-3+1)", -4), ("1/3*3", 1), ("8 ", 8)])
def test_signs_before_numbers_and_fractions(text, value):
    assert parse(text).value == value


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "1 2", "1+", "*2", "1**2", "1//2", "--1", "-(1)", "2*-3", "2+-3", "()", "(1", "1)", "(1)(2)"),
        *("1.5", "1e3", "0x1", "1_0", "a", "٣+٤", "２", "×", "1/0", "1/(2-2)", "9" * 21, "__import__('os')"),
        *("1\n+2", "1,2", "[1]", "1+(2", "(" * 10_000, "1+" * 10_000, ")" * 10_000, "2^3", "1\x00"),
    ],
)
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(NoExpression):
        parse(text)


def test_hostile_lengths_take_no_time():
    start = time.monotonic()
    for text in ("(" * 10_000_000, "1" * 10_000_000, "9*" * (LONGEST // 2 - 1) + "9", "(" * 99 + "1" + ")" * 99):
        with contextlib.suppress(NoExpression):
            parse(text)
    assert time.monotonic() - start < 5
