"""Two loops that train by turns."""

import time

import pytest
from greenlet import getcurrent, greenlet

from deepseek_lab.benchmarking.turns import OURS, THEIRS, Turns


def by_turns(turns, step):
    def loop(who):
        for number in range(3):
            turns.begin()
            step(who, number)
            turns.end(who)

    turns.loops = {OURS: getcurrent(), THEIRS: greenlet(lambda: loop(THEIRS))}
    loop(OURS)
    turns.loops[THEIRS].switch()


def test_two_loops_take_turns_and_only_their_own_steps_are_timed():
    order, turns = [], Turns(lambda line: None)

    def step(who, number):
        order.append(who)
        time.sleep(0.02 if who == THEIRS else 0.0)

    by_turns(turns, step)
    assert order == [OURS, THEIRS] * 3
    assert turns.loops[THEIRS].dead
    result = turns.result
    assert min(result["seconds"][THEIRS]) > max(result["seconds"][OURS])
    assert max(result["cpu_seconds"][THEIRS]) < 0.02, "who sleeps takes no processor"
    assert len(result["ratios"]) == len(result["cpu_ratios"]) == 2


def test_what_goes_wrong_in_the_other_loop_is_not_waited_for():
    def step(who, number):
        if who == THEIRS and number == 1:
            raise ArithmeticError("theirs")

    with pytest.raises(ArithmeticError, match="theirs"):
        by_turns(Turns(lambda line: None), step)
