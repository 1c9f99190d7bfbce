"""Sums and products: right answers, splits that share nothing, verdicts that cannot be talked into."""

import itertools
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
    assert [reward.parts["format"] for reward in rewards] == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert [reward.failure for reward in rewards[:3]] == [None] * 3
    assert "no <answer>" in rewards[3].failure
    assert [SUMS.vote(text) for text in said] == ["42", "42", "41", None, None]
    with pytest.raises(ValueError, match="zip"):
        SUMS.rewards([example], [])


@pytest.mark.parametrize(
    ("field", "value"), [("operation", "root"), ("min_terms", 1), ("max_digits", 0), ("held_out", 0.5), ("seed", -1)]
)
def test_bad_values(field, value):
    with pytest.raises(ConfigError):
        Arithmetic.Config(**{"operation": "sum", field: value})
