"""Facts in long texts: what is put in, where, and that nothing but the text tells the answer."""

import random

import pytest

from deepseek_lab.tasks.needle import NAMES, VALUES, draw, haystack, planted


def test_names_and_values_are_distinct_words():
    assert len(set(NAMES)) == len(NAMES) == 64
    assert len(set(VALUES)) == len(VALUES)
    assert not set(NAMES) & set(VALUES)


def test_a_line_is_its_question_and_its_answer():
    (needle,) = draw(1, random.Random(0))
    assert needle.line == f"{needle.question}{needle.answer}\n"
    assert needle.value not in needle.question


def test_values_say_nothing_of_names():
    source = random.Random(1)
    pairs = {(n.name, n.value) for _ in range(400) for n in draw(3, source)}
    assert len({value for name, value in pairs if name == NAMES[0]}) > 8


def test_planted_lines_stand_among_the_filler_which_stays_in_order():
    filler = "".join(f"x{i} = {i}\n" for i in range(30))
    needles = draw(3, random.Random(2))
    text = planted(filler, needles, 2, random.Random(3))
    lines = text.splitlines(keepends=True)
    assert [line for line in lines if line.startswith("x")] == filler.splitlines(keepends=True)
    assert all(lines.count(needle.line) == 2 for needle in needles)
    assert text == planted(filler, needles, 2, random.Random(3))


def test_a_haystack_has_the_length_asked_for_and_the_needle_at_its_depth():
    for depth, first in ((0.0, 0), (0.4, 7), (1.0, 17)):
        found = haystack(list(range(100)), [-1, -2], [-3], 20, depth)
        assert len(found) == 20
        assert found[first : first + 2] == [-1, -2]
        assert found[-1] == -3
        assert [token for token in found if token >= 0] == list(range(17))


@pytest.mark.parametrize(("length", "filler"), [(2, 50), (20, 5)])
def test_what_cannot_be_built_is_refused(length, filler):
    with pytest.raises(ValueError, match="tokens"):
        haystack([0] * filler, [1, 1], [2], length, 0.5)
