"""Pairs that a task has judged: the preferred one is the chosen one, of training questions alone, summaries alone."""

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.data.judged_answers import JudgedAnswers
from deepseek_lab.tasks.arithmetic import Arithmetic
from deepseek_lab.tasks.instructions import Instructions
from deepseek_lab.tasks.task import Example

TASK = Instructions.Config()


def pairs(**values):
    return list(JudgedAnswers.Config(**{"task": TASK, "n_pairs": 200, "n_questions": 100, **values}).build().pairs())


def test_the_chosen_one_is_preferred():
    task = TASK.build()
    for pair in pairs():
        question, chosen, rejected = pair.chosen[0].content, pair.chosen[1].content, pair.rejected[1].content
        assert pair.rejected[0] == pair.chosen[0]
        assert task.preferred(Example(question=question, answer=""), chosen, rejected) is True
        assert "<think>" not in chosen + rejected
        assert chosen.startswith("<answer>")


def test_training_questions_alone_each_in_its_turn():
    asked = [pair.chosen[0].content for pair in pairs()]
    trained = [example.question for example in TASK.build().examples("train", 100)]
    assert asked == trained * 2


def test_the_same_pairs_again_and_others_for_another_seed():
    assert pairs() == pairs()
    assert pairs(seed=1) != pairs()


def test_what_cannot_be_judged_is_named():
    with pytest.raises(ConfigError, match="task is no task that prefers"):
        pairs(task=Arithmetic.Config(operation="sum"))
    with pytest.raises(ConfigError, match=r"data.corpus.task prefers no answer to '.*' to another"):
        pairs(task=Instructions.Config(wrong_share=0.0, filler_share=0.0, wish_share=0.0))
