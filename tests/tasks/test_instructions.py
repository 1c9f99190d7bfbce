"""Favours: the hidden rule's likes and dislikes, on the summary alone; splits without a common question."""

import itertools
import random

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.tasks.instructions import FILLERS, WISHES, Instructions, rule
from deepseek_lab.tasks.task import SPLITS, Example, JudgedTask

TASK: JudgedTask = Instructions.Config().build()
EXAMPLE = Example(question="thank bako", answer="many thanks bako all the best")


def said(summary, thought="so"):
    return f"<think>{thought}</think><answer>{summary}</answer>"


@pytest.mark.parametrize("split", SPLITS)
def test_the_stated_answer_leaves_nothing_to_wish_for(split):
    for example in TASK.examples(split, 100):
        assert rule(example, example.answer) == 1.0


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("many thanks bako all the best", "many thanks bako"),
        ("many thanks bako", "many thanks"),
        ("many thanks bako", "hello bako"),
        ("many thanks bako", "many thanks bakos"),
        ("many thanks bako", f"{FILLERS[0]} many thanks bako"),
        ("many thanks bako", "many thanks bako bako"),
        (f"many thanks bako {WISHES[0]}", f"many thanks bako {WISHES[0]} {WISHES[1]}"),
        ("many thanks bako", f"many thanks bako {' '.join(map(chr, range(97, 110)))}"),
    ],
)
def test_what_the_rule_prefers(better, worse):
    assert TASK.preferred(EXAMPLE, said(better), said(worse)) is True
    assert TASK.preferred(EXAMPLE, said(worse), said(better)) is False
    assert TASK.preferred(EXAMPLE, said(worse), said(worse)) is None


def test_only_the_summary_counts():
    reward, other = TASK.rewards([EXAMPLE] * 2, [said("hello"), said("hello", "many thanks bako all the best")])
    assert reward.parts == other.parts
    assert reward.parts["format"] == 1.0
    assert 0 <= reward.total < 1


def test_answers_as_people_give_them_are_of_every_quality():
    draw = random.Random(0)
    examples = TASK.examples("train", 400)
    rewards = TASK.rewards(examples, [TASK.worked(example, draw).text for example in examples])
    best = sum(reward.total == 1.0 for reward in rewards)
    assert 10 < best < 100
    assert len({reward.total for reward in rewards}) > 4
    assert all(reward.parts["format"] == 1.0 for reward in rewards)


def test_splits_share_no_question():
    by_split = {split: {e.question for e in TASK.examples(split, 400)} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert by_split[one].isdisjoint(by_split[other])
    assert TASK.examples("test", 50) == TASK.examples("test", 60)[:50]


def test_no_answer_and_other_tasks_questions():
    (reward,) = TASK.rewards([EXAMPLE], ["many thanks bako"])
    assert (reward.total, reward.failure) == (0.0, "no <answer>")
    assert TASK.vote(said("hello bako")) == "hello bako"
    wished, dotted = TASK.rewards([EXAMPLE] * 2, [said(f"{EXAMPLE.answer}{end}") for end in ("", ".")])
    assert wished.total == dotted.total == 1
    with pytest.raises(ValueError, match="no instruction: '1"):
        TASK.rewards([Example(question="1 + 1 = ?", answer="2")], [said("2")])
    with pytest.raises(ConfigError, match="wish_share must lie between 0 and 1"):
        Instructions.Config(wish_share=2.0)
