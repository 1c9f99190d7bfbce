"""Whether an output is the expected one: outputs are plain JSON values or printed text, compared here alone.

A program's own `==` has no say: what arrives has passed through JSON. `True` is not 1, a number is right where
it is equal, or, where a fraction is expected, nearly so; text may differ in white space at the ends of lines.
"""

import math
from typing import Any

_RELATIVE, _ABSOLUTE = 1e-6, 1e-9


def same_value(expected: Any, actual: Any) -> bool:
    """Compares as deep as `expected` goes."""
    if isinstance(expected, bool) or expected is None or isinstance(expected, str):
        return type(expected) is type(actual) and bool(expected == actual)
    if isinstance(expected, (int, float)):
        return _same_number(expected, actual)
    if isinstance(expected, list):
        equal_length = isinstance(actual, list) and len(actual) == len(expected)
        return equal_length and all(map(same_value, expected, actual))
    if isinstance(expected, dict):
        equal_keys = isinstance(actual, dict) and actual.keys() == expected.keys()
        return equal_keys and all(same_value(value, actual[key]) for key, value in expected.items())
    return False


def _same_number(expected: float, actual: Any) -> bool:
    if isinstance(actual, bool) or not isinstance(actual, (int, float)):
        return False
    if isinstance(expected, int) or not math.isfinite(expected):
        return bool(expected == actual)
    try:
        return math.isclose(expected, actual, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    except OverflowError:  # a whole number beyond all fractions
        return False


def same_text(expected: str, actual: Any) -> bool:
    """Printed text, line by line."""
    return isinstance(actual, str) and _lines(expected) == _lines(actual)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]
