"""Verdicts of several judges as one reward; a judge that fails names its failure."""

import math
import time

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.rollout.rewarding import Rewarding
from deepseek_lab.tasks.task import Example, Reward

ONE = Example(question="q", answer="a")


class Judged:
    """Verdicts by what is said; counts its calls."""

    def __init__(self, verdicts):
        self.verdicts, self.calls = verdicts, []

    def rewards(self, examples, completions):
        self.calls.append(list(completions))
        return [self._one(text) for text in completions]

    def _one(self, text):
        verdict = self.verdicts[text]
        if isinstance(verdict, Exception):
            raise verdict
        if isinstance(verdict, float):
            time.sleep(verdict)
            return Reward(total=1.0)
        return verdict


def values(judges, weights, said, seconds=5.0):
    rewarding = Rewarding(judges, weights, seconds)
    verdicts = rewarding.verdicts([ONE] * len(said), said)
    return [rewarding.values(verdict, ONE) for verdict in verdicts], verdicts, rewarding


TASK = Judged(
    {
        "good": Reward(total=1.0, parts={"correct": 1.0, "format": 1.0}, steps=[(2, 1.0)]),
        "bad": Reward(total=0.0, parts={"correct": 0.0, "format": 1.0}, failure="wrong"),
        "unknown": Reward(total=None, failure="no sandbox"),
    }
)


def test_the_total_alone_or_weighted_parts_with_the_form_apart():
    assert values([TASK], {"total": 2.0}, ["good", "bad"])[0] == [(2.0, None), (0.0, None)]
    found, verdicts, _ = values([TASK], {"correct": 1.0, "format": 0.1, "total": 0.0}, ["good", "bad"])
    assert found == [(1.0, 0.1), (0.0, 0.1)]
    assert list(verdicts[0].steps) == [(2, 1.0)]


def test_what_nobody_can_judge_is_no_number():
    (value,), (verdict,), _ = values([TASK], {"total": 1.0}, ["unknown"])
    assert math.isnan(value[0])
    assert verdict.failure == "no sandbox"


def test_parts_of_several_judges_join_and_one_may_do_without_the_other():
    model = Judged(
        {"good": Reward(total=0.5, parts={"taste": 0.5}), "unknown": Reward(total=-2.0, parts={"taste": -2.0})}
    )
    assert values([TASK, model], {"correct": 1.0, "taste": 2.0}, ["good"])[0] == [(2.0, None)]
    both = values([TASK, model], {"correct": 1.0, "taste": 2.0}, ["unknown"])[0]
    assert math.isnan(both[0][0])
    assert values([TASK, model], {"taste": 2.0}, ["unknown"])[0] == [(-4.0, None)]


def test_one_answer_that_breaks_a_judge_does_not_spoil_the_others():
    judge = Judged({"good": Reward(total=1.0), "bomb": ValueError("cannot\nread"), "late": 5.0})
    found, verdicts, rewarding = values([judge], {"total": 1.0}, ["good", "bomb", "good", "late"], seconds=0.05)
    assert [value for value, _ in found][::2] == [1.0, 1.0]
    assert all(math.isnan(value) for value, _ in found[1::2])
    assert [verdict.failure for verdict in verdicts[1::2]] == [
        "ValueError: cannot read",
        "OutOfTime: no verdict within 0.05 s",
    ]
    assert rewarding.timeouts == 1


def test_a_judge_in_order_is_asked_once_for_all():
    judge = Judged({"good": Reward(total=1.0)})
    values([judge], {"total": 1.0}, ["good"] * 3)
    assert judge.calls == [["good"] * 3]


@pytest.mark.parametrize("total", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_no_verdict(total):
    (value,), (verdict,), _ = values([Judged({"x": Reward(total=total)})], {"total": 1.0}, ["x"])
    assert math.isnan(value[0])
    assert str(total) in verdict.failure


def test_too_few_verdicts_are_a_failure():
    class Short:
        def rewards(self, examples, completions):
            return []

    (value,), (verdict,), _ = values([Short()], {"total": 1.0}, ["x"])
    assert math.isnan(value[0])
    assert "0 verdicts on 1 answers" in verdict.failure


def test_a_weight_of_a_part_that_no_judge_gives():
    judge = Judged({"": Reward(total=0.0, parts={"correct": 0.0})})
    Rewarding([judge], {"correct": 1.0}, 5.0).require_parts([ONE])
    with pytest.raises(ConfigError, match="did you mean 'correct'") as caught:
        Rewarding([judge], {"corect": 1.0}, 5.0).require_parts([ONE])
    assert caught.value.field == "rewards.corect"


def test_a_verdict_that_the_clock_decided_is_counted_too():
    class Clocked:
        def rewards(self, examples, completions):
            return [Reward(total=0.0, reproducible=text != "slow") for text in completions]

    rewarding = Rewarding([Clocked()], {"total": 1.0}, seconds=5.0)
    rewarding.verdicts([ONE] * 3, ["slow", "quick", "slow"])
    assert rewarding.timeouts == 2
