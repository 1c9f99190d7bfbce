"""Outputs are compared strictly, and by nothing that a program can override."""

import pytest

from deepseek_lab.tasks.outputs import same_text, same_value


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        *((1, 1), (1, 1.0), (0.3, 0.1 + 0.2), (0.5, 0.5), (2.0, 2), (True, True), (None, None), ("a", "a")),
        *(([1, [2, "b"]], [1, [2, "b"]]), ({"a": [1]}, {"a": [1.0]}), ([], []), (float("inf"), float("inf"))),
    ],
)
def test_same(expected, actual):
    assert same_value(expected, actual)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        *((1, 2), (1, True), (True, 1), (0, False), (0, None), (None, 0), ("1", 1), (1, "1"), (1, 1 + 1e-9)),
        *((0.3, 0.31), (0.5, "0.5"), ([1, 2], [1]), ([1], [1, 2]), ([1], 1), ([1], {"0": 1}), ({}, []), ([], {})),
        *(({"a": 1}, {"a": 1, "b": 2}), ({"a": 1}, {}), (0.5, 10**400), (float("nan"), float("nan")), (0.5, None)),
    ],
)
def test_different(expected, actual):
    assert not same_value(expected, actual)


def test_text_differs_in_white_space_at_the_ends_of_lines_alone():
    assert same_text("1 2\n3\n", "1 2  \n3")
    assert not same_text("1 2\n3\n", "1  2\n3")
    assert not same_text("1\n2", "1\n\n2")
    assert not same_text("4", 4)
