"""A mixture asks in turn and lets each task judge its own answers."""

import random

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.tasks.arithmetic import Arithmetic
from deepseek_lab.tasks.countdown import Countdown
from deepseek_lab.tasks.instructions import Instructions
from deepseek_lab.tasks.mixture import LEVELS_APART, TaskMixture
from deepseek_lab.tasks.task import Example

TASKS = {
    "sums": Arithmetic.Config(operation="sum"),
    "countdown": Countdown.Config(),
    "favours": Instructions.Config(),
}


@pytest.fixture
def mixture():
    return TaskMixture.Config(name="all", tasks=TASKS).build()


def test_each_task_asks_in_turn_its_own_questions_of_the_split(mixture):
    examples = mixture.examples("test", 8)
    assert [example.family for example in examples] == [*("countdown", "favours", "sums") * 2, "countdown", "favours"]
    for name, task in TASKS.items():
        own = [e.question for e in examples if e.family == name]
        assert own == [e.question for e in task.build().examples("test", len(own))]
    assert {example.difficulty // LEVELS_APART for example in examples} == {0, 1, 2}


def test_every_answer_is_judged_by_the_task_that_asked(mixture):
    examples = mixture.examples("train", 30)
    said = [mixture.worked(example, random.Random(place)).text for place, example in enumerate(examples)]
    verdicts = mixture.rewards(examples, said)
    for example, text, verdict in zip(examples, said, verdicts, strict=True):
        assert verdict == TASKS[example.family].build().rewards([example], [text])[0]
    assert all(v.total == 1.0 for v, e in zip(verdicts, examples, strict=True) if e.family != "favours")
    swapped = mixture.rewards(examples, [*said[1:], said[0]])
    assert sum(v.total == 1.0 for v in swapped) < 5, "another question's answer is wrong"


def test_a_question_of_no_task_has_no_verdict(mixture):
    verdict = mixture.rewards([Example(question="1 + 1 = ?", answer="2")], ["<answer>2</answer>"])[0]
    assert verdict.total is None
    assert "no task" in verdict.failure


def test_votes_of_equal_answers_are_equal(mixture):
    assert mixture.vote("<answer>7+4 *2</answer>") == mixture.vote("<answer>7+4*2</answer>")
    assert mixture.vote("<answer>26</answer>") == mixture.vote("<think>1+1=2</think><answer> 26 </answer>") is not None
    assert mixture.vote("nothing") is None


def test_bad_configs():
    for tasks, field in (({}, "tasks"), ({"a": 3}, "tasks.a")):
        with pytest.raises(ConfigError) as error:
            TaskMixture.Config(name="m", tasks=tasks)
        assert error.value.field == field
