"""Sums and products: right answers, splits that share nothing, verdicts that cannot be talked into."""

import itertools
import random
import re

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.tasks.arithmetic import Arithmetic
from deepseek_lab.tasks.task import SPLITS, Example, Task

SUMS: Task = Arithmetic.Config(operation="sum").build()
PRODUCTS: Task = Arithmetic.Config(operation="product", max_terms=2).build()


def terms(example):
    return [int(number) for number in re.findall(r"\d+", example.question)]


@pytest.mark.parametrize("split", SPLITS)
def test_the_stated_answer_is_the_result(split):
    for example in SUMS.examples(split, 100):
        assert int(example.answer) == sum(terms(example))
        assert 2 <= len(terms(example)) <= 3
    for example in PRODUCTS.examples(split, 100):
        first, second = terms(example)
        assert int(example.answer) == first * second


def test_splits_share_no_question_even_with_terms_exchanged():
    by_split = {split: {tuple(sorted(terms(e))) for e in SUMS.examples(split, 600)} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert by_split[one].isdisjoint(by_split[other])
    reseeded = Arithmetic.Config(operation="sum", seed=1).build()
    assert by_split["test"].isdisjoint(tuple(sorted(terms(e))) for e in reseeded.examples("train", 2000)), (
        "a question keeps its split whatever the seed"
    )


def test_examples_differ_and_are_the_same_again_however_many_are_asked_for():
    some = SUMS.examples("train", 50)
    assert len({example.question for example in some}) == 50
    assert SUMS.examples("train", 80)[:50] == some
    assert Arithmetic.Config(operation="sum", seed=1).build().examples("train", 50) != some


def test_sizes_that_allow_too_few_questions_are_named():
    small = Arithmetic.Config(operation="sum", max_terms=2, max_digits=1).build()
    with pytest.raises(ConfigError, match=r"allow only \d+ or so validation questions, not 1000"):
        small.examples("validation", 1000)


def test_verdicts():
    example = Example(question="20 + 22 = ?", answer="42")
    said = ["<answer>42</answer>", "<answer>+042</answer>", "<answer>41</answer>", "42", "<answer>40 + 2</answer>"]
    rewards = SUMS.rewards([example] * len(said), said)
    assert [reward.total for reward in rewards] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert [reward.parts["correct"] for reward in rewards] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert not any(reward.parts["format"] for reward in rewards), "no thought stands before the answer"
    assert [reward.failure for reward in rewards[:3]] == [None] * 3
    assert "no <answer>" in rewards[3].failure
    assert [SUMS.vote(text) for text in said] == ["42", "42", "41", None, None]
    drafts = ["<think><answer>41</answer>?</think><answer>42.</answer>", "<think><answer>42</answer></think>"]
    assert [reward.total for reward in SUMS.rewards([example] * 2, drafts)] == [1, 0]
    below = Example(question="20 + 22 = ?", answer="-3")
    said = [f"<answer>{n}</answer>" for n in ("\N{MINUS SIGN}3", "-3", "3", "$-3", "-3 clips", "-6/2", "\\boxed{-3}")]
    assert [reward.total for reward in SUMS.rewards([below] * 7, said)] == [1, 1, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="zip"):
        SUMS.rewards([example], [])


@pytest.mark.parametrize(
    ("field", "value"), [("operation", "root"), ("min_terms", 1), ("max_digits", 0), ("held_out", 0.5), ("seed", -1)]
)
def test_bad_values(field, value):
    with pytest.raises(ConfigError):
        Arithmetic.Config(**{"operation": "sum", field: value})


@pytest.mark.parametrize("thought", ["totals", "places", "either"])
@pytest.mark.parametrize("operation", ["sum", "product"])
def test_what_is_worked_is_right_in_every_line_and_earns_every_part(operation, thought):
    task = Arithmetic.Config(operation=operation, thought=thought).build()
    draw = random.Random(0)
    for example in task.examples("train", 200):
        worked = task.worked(example, draw)
        (reward,) = task.rewards([example], [worked.text])
        assert reward.parts == {"correct": 1.0, "format": 1.0, "language": 1.0}
        assert reward.steps, "a line earns a step"
        assert {value for _, value in reward.steps} == {1.0}
        assert worked.thought.splitlines()[-1].endswith(f"={example.answer}")


def test_ways_to_work_a_sum():
    example = Example(question="12 + 38 + 5 = ?", answer="55")
    assert Arithmetic.Config(operation="sum", thought="totals").build().worked(example, random.Random(0)).thought == (
        "12+38=50\n50+5=55"
    )
    by_place = Arithmetic.Config(operation="sum", thought="places").build().worked(example, random.Random(0))
    assert by_place.thought == "12+30=42\n42+8=50\n50+5=55"
    either = Arithmetic.Config(operation="sum").build()
    assert len({either.worked(example, random.Random(seed)).thought for seed in range(20)}) == 2


def test_each_line_of_a_thought_is_judged_and_idle_ones_earn_nothing():
    example = Example(question="12 + 38 + 5 = ?", answer="55")
    said = "<think>12+38=51\n12+38=50\n12+38=50\n50=50\n7+7=14\nso\n50+5=55</think><answer>55</answer>"
    (reward,) = SUMS.rewards([example], [said])
    assert [value for _, value in reward.steps] == [0, 1, 0, 0, 0, 0, 1, 1]
    ends = [said[:end].rpartition("\n")[2] for end, _ in reward.steps]
    assert ends[0].endswith("12+38=51")
    assert ends[1:4] == ["12+38=50", "12+38=50", "50=50"]
    assert reward.steps[-1][0] == len(said)
    assert reward.parts["language"] == pytest.approx(6 / 7)


def test_no_more_steps_count_than_the_longer_way_takes():
    example = Example(question="1 + 1 + 5 = ?", answer="7")
    said = "<think>" + "\n".join(f"{n}+1={n + 1}" for n in range(1, 50)) + "</think><answer>7</answer>"
    (reward,) = SUMS.rewards([example], [said])
    assert sum(value for _, value in reward.steps) == 3


def test_difficulty_grows_with_the_digits():
    assert {e.difficulty for e in SUMS.examples("train", 300)} == {2, 3, 4, 5, 6}
    assert all(e.difficulty == len(re.findall(r"\d", e.question)) for e in SUMS.examples("train", 300))
