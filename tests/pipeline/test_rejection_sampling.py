"""What stays of a model's answers is right, in form, not cut off, and not more than asked for of one question."""

from collections import Counter
from dataclasses import replace

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.attempts import Attempts
from deepseek_lab.pipeline.rejection_sampling import RejectionSampling, kept, pairs_of, said_of
from deepseek_lab.tasks.arithmetic import Arithmetic
from deepseek_lab.tasks.task import Example

TASK = Arithmetic.Config(operation="sum").build()
EXAMPLE = Example(question="1 + 2 = ?", answer="3")
GOOD, OTHER = "<think>1+2=3</think><answer>3</answer>", "<think>2+1=3</think><answer>3</answer>"
WORDS = "<think>1 and 2 make 3</think><answer>3</answer>"
BARE, WRONG = "<answer>3</answer>", "<think>1+2=4</think><answer>4</answer>"


def wish(**values):
    knobs = {
        "questions": 1,
        "samples": 4,
        "keep": 1,
        "least": {"format": 1.0, "language": 1.0},
        "longest": None,
        "prompt": "{question}",
        "chat": True,
        "thinking": False,
        "max_new_tokens": 8,
        "seed": 1,
    }
    return RejectionSampling(**{**knobs, **values})


def attempts(*said, cut_off=()):
    right = [verdict.total for verdict in TASK.rewards([EXAMPLE] * len(said), said)]
    cut = [place in cut_off for place in range(len(said))]
    return Attempts(EXAMPLE, said, right, ["3"] * len(said), cut, [len(text) for text in said])


def stays(one, **values):
    counts = Counter()
    return [row["completion"] for row in kept(one, TASK, wish(**values), counts)], counts


def test_only_what_is_right_and_in_form_stays_and_every_other_answer_has_a_reason():
    rows, counts = stays(attempts(WRONG, BARE, WORDS, GOOD, OTHER), keep=5)
    assert rows == [GOOD, OTHER]
    assert counts == {
        "dropped: wrong": 1,
        "dropped: too little format": 1,
        "dropped: too little language": 1,
        "right and in form": 2,
    }


def test_of_one_question_no_more_stay_than_asked_for_and_none_twice():
    assert stays(attempts(GOOD, OTHER))[0] == [GOOD]
    assert stays(attempts(GOOD, GOOD, OTHER), keep=3)[0] == [GOOD, OTHER]


def test_what_was_cut_off_or_is_too_long_goes():
    assert stays(attempts(GOOD, OTHER, cut_off=[0]))[0] == [OTHER]
    assert stays(attempts(GOOD), longest=len(GOOD) - 1)[0] == []
    assert stays(attempts(GOOD), longest=len(GOOD))[0] == [GOOD]


def test_parts_may_be_asked_for_less():
    assert stays(attempts(WORDS), least={"format": 1.0})[0] == [WORDS]
    assert stays(attempts(WORDS), least={"language": 0.0})[0] == [WORDS]


def test_the_row_is_what_instructions_read_and_the_line_says_what_was_dropped():
    counts = Counter()
    rows = list(kept(attempts(WRONG, GOOD), TASK, wish(), counts))
    assert rows == [{"prompt": EXAMPLE.question, "completion": GOOD}]
    assert said_of(counts, 1) == "1 of 2 answers stay; 1 dropped: wrong"


def test_bad_configs():
    for values, field in (({"keep": 0}, "keep"), ({"prompt": "no"}, "prompt"), ({"samples": "x"}, "samples")):
        with pytest.raises(ConfigError) as error:
            wish(**values)
        assert error.value.field == field


def test_a_pair_holds_the_first_right_and_the_first_wrong_answer_that_were_not_cut_off():
    (pair,) = pairs_of(attempts(WRONG, GOOD, OTHER, BARE, cut_off=[1]))
    assert pair == {"prompt": EXAMPLE.question, "chosen": OTHER, "rejected": WRONG}
    assert not list(pairs_of(attempts(GOOD, OTHER)))
    unsure = replace(attempts(GOOD, GOOD, WRONG), totals=[1.0, 0.0, 0.0])
    nobody_knows = replace(attempts(WRONG, GOOD, BARE), totals=[None, 1.0, None])
    assert not list(pairs_of(nobody_knows))
    assert [pair["rejected"] for pair in pairs_of(unsure)] == [WRONG], "a clock may judge one text in two ways"
    assert not list(pairs_of(attempts(WRONG)))
    assert not list(pairs_of(attempts(WRONG, GOOD, cut_off=[0])))
