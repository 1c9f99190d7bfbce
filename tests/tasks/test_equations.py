"""Lines that read as equations, and steps that are right, new and made of what is given."""

import time

import pytest

from deepseek_lab.tasks.equations import Steps, equation_in, equation_share, equations_in, step_values


def values(thought, *given, most=100, each_line_anew=False):
    steps = Steps(given=given, most=most, each_line_anew=each_line_anew)
    return [value for _, value in step_values(f"<think>{thought}</think>", steps)]


def test_an_equation_is_an_expression_and_a_number_right_or_wrong():
    assert equation_in("3*4 = 12").holds
    assert not equation_in("3*4=13").holds
    assert equation_in("1/3 = 1/3").holds
    assert equation_in("3-8=-5").right == -5
    for none in ("3*4", "=12", "3*4=", "3*4==12", "12=3*4+0+0", "so 3*4=12", "3*4=12.", "1=1=1", "2+2=4, and"):
        assert equation_in(none) is None


def test_several_in_a_line():
    assert [e.right for e in equations_in("8*3=24, 24+5=29")] == [24, 29]
    assert equations_in("8*3=24, then 24+5=29") == []
    assert equations_in("8*3=24,") == []


def test_share_of_lines():
    assert equation_share("<think>1+1=3\nso\n\n2+2=4\nhm</think><answer>4</answer>") == 0.5
    assert equation_share("<answer>4</answer>") == 0.0
    assert equation_share("<think></think><answer>4</answer>") == 0.0


def test_steps_follow_from_what_is_given_or_was_calculated():
    assert values("2+3=5\n5+4=9", 2, 3, 4) == [1, 1]
    assert values("2+3=6\n6+4=10", 2, 3, 4) == [0, 0], "nothing follows from a false step"
    assert values("5+4=9", 2, 3, 4) == [0]
    assert values("2+3=5,5*4=20", 2, 3, 4) == [1]
    assert values("2+3=5\n2 + 3 = 5\n3+2=5\n5=5", 2, 3) == [1, 0, 1, 0]
    assert values("2+3=5\n5+4=9", 2, 3, 4, each_line_anew=True) == [1, 0]
    assert values("2+3=5\n5+4=9", 2, 3, 4, most=1) == [1, 0]


@pytest.mark.parametrize(
    "hostile",
    ["(" * 10_000, "1=1\n" * 100_000, "=" * 100_000, "1+1=2," * 50_000, "\n" * 500_000, "9*" * 50_000, "\x00", "½=½"],
)
def test_hostile_thoughts_take_no_time(hostile):
    start = time.monotonic()
    assert sum(values(hostile, 7)) == 0
    assert 0 <= equation_share(f"<think>{hostile}") <= 1
    assert time.monotonic() - start < 5
