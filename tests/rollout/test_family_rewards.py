"""Tasks of a mixture may be rewarded by other parts, and a judge be asked about some of them alone."""

import math

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.rollout.rewarding import OnlyFor, Rewarding
from deepseek_lab.tasks.task import Example, Reward

SUM, FAVOUR = (Example(question=name, answer="", family=name) for name in ("sums", "favours"))


class Task:
    """Right or wrong for sums, a hidden score for favours."""

    def rewards(self, examples, completions):
        part = {"sums": "correct", "favours": "hidden"}
        return [Reward(total=1.0, parts={part[example.family]: 1.0}) for example in examples]


class Model:
    """Scores by length; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def rewards(self, examples, completions):
        self.asked += [example.family for example in examples]
        return [Reward(total=0.0, parts={"model": float(len(text))}) for text in completions]


def rewarding(model, family_weights):
    only = OnlyFor(model, lambda example: example.family == "favours")
    return Rewarding([Task(), only], {"correct": 1.0}, seconds=5.0, family_weights=family_weights)


def test_each_family_is_worth_what_its_own_weights_say_and_only_its_judge_is_asked():
    model = Model()
    judged = rewarding(model, {"favours": {"model": 0.5}})
    verdicts = judged.verdicts([SUM, FAVOUR, SUM], ["a", "four", "b"])
    assert model.asked == ["favours"]
    assert "model" not in verdicts[0].parts
    values = [judged.values(*pair)[0] for pair in zip(verdicts, [SUM, FAVOUR, SUM], strict=True)]
    assert values == [1.0, 2.0, 1.0]


def test_without_weights_of_its_own_a_family_that_lacks_the_part_is_not_judged():
    judged = rewarding(Model(), None)
    verdict = judged.verdicts([FAVOUR], ["x"])[0]
    assert math.isnan(judged.values(verdict, FAVOUR)[0])


def test_a_weight_of_a_part_that_a_family_never_has_is_named():
    rewarding(Model(), {"favours": {"model": 1.0}}).require_parts([SUM, FAVOUR])
    with pytest.raises(ConfigError, match="modle"):
        rewarding(Model(), {"favours": {"modle": 1.0}}).require_parts([SUM, FAVOUR])
    with pytest.raises(ConfigError, match="correct"):
        rewarding(Model(), None).require_parts([SUM, FAVOUR])


def test_nobody_is_asked_about_nothing():
    model = Model()
    OnlyFor(model, lambda example: False).rewards([SUM], ["a"])
    assert model.asked == []
