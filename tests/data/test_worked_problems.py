"""Documents made of worked questions: the same again, in the shares asked for, of training questions alone."""

import re

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.data.worked_problems import WorkedProblems, in_words
from deepseek_lab.tasks.arithmetic import Arithmetic
from deepseek_lab.tasks.countdown import Countdown
from deepseek_lab.tasks.task import Example

TASKS = {
    "sums": Arithmetic.Config(operation="sum", min_terms=3, max_terms=4, max_digits=1),
    "countdown": Countdown.Config(min_numbers=3, max_numbers=3, max_number=9),
}


def corpus(**values):
    return WorkedProblems.Config(**{"tasks": TASKS, "n_documents": 300, "n_questions": 100, **values}).build()


def texts(**values):
    return [document.text for document in corpus(**values).documents()]


def test_the_same_config_gives_the_same_documents_and_another_seed_other_ones():
    assert texts() == texts()
    assert corpus().identity == corpus().identity != corpus(seed=1).identity


def test_every_answer_is_right_and_stands_behind_its_question():
    tasks = {name: config.build() for name, config in TASKS.items()}
    for document in corpus(words_share=0.5).documents():
        task = tasks[document.name.partition("#")[0]]
        question, _, answer = document.text.partition("\n")
        assert question == document.held_out_with
        assert task.rewards([Example(question=question, answer=expected(question))], [answer])[0].total == 1.0


def expected(question):
    """The answer of a sum; that of countdown is judged by its value alone."""
    return str(sum(map(int, re.findall(r"[0-9]+", question)))) if question.endswith("= ?") else ""


def test_in_a_turn_a_task_has_as_many_documents_as_asked_for():
    names = [document.name.partition("#")[0] for document in corpus(turn={"sums": 3}).documents()]
    assert names[:8] == ["countdown", "sums", "sums", "sums"] * 2
    asked = [document.held_out_with for document in corpus(turn={"sums": 3}, n_documents=400).documents()]
    assert {name: len(set(found)) for name, found in by_task(asked).items()} == {"countdown": 100, "sums": 100}


def by_task(questions):
    sums = [question for question in questions if question.endswith("= ?")]
    return {"sums": sums, "countdown": [question for question in questions if question not in sums]}


@pytest.mark.parametrize(("turn", "field"), [({"summs": 2}, "turn"), ({"sums": 0}, "turn.sums")])
def test_a_turn_of_another_task_or_of_nothing_is_refused(turn, field):
    with pytest.raises(ConfigError) as error:
        corpus(turn=turn)
    assert error.value.field == field


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_share_of_the_documents_thinks(share):
    thinking = ["<think>" in text for text in texts(thought_share=share)]
    assert sum(thinking) / 300 == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_share_of_the_lines_is_in_words(share):
    thoughts = [
        re.search(r"<think>(.*)</think>", text, re.DOTALL)[1] for text in texts(thought_share=1.0, words_share=share)
    ]
    lines = [line for thought in thoughts for line in thought.split("\n")]
    assert sum("make" in line for line in lines) / len(lines) == pytest.approx(share, abs=0.08)


def test_questions_come_again_once_all_were_asked_and_may_be_answered_in_another_way():
    documents = list(corpus(thought_share=1.0).documents())
    assert [d.held_out_with for d in documents[:100]] == [d.held_out_with for d in documents[200:]]
    assert documents[:100] != documents[200:]
    assert len({d.name for d in documents}) == 300
    assert len({d.held_out_with for d in documents}) == 200


def test_no_question_is_of_a_held_out_split():
    asked = {document.held_out_with for document in corpus().documents()}
    for config in TASKS.values():
        task = config.build()
        for split in ("validation", "test"):
            assert asked.isdisjoint(example.question for example in task.examples(split, 50))


def test_an_equation_in_words():
    assert in_words("12+38=50") == "12 and 38 make 50"
    assert in_words("8-5=3,3*9=27") == "8 less 5 make 3,3 times 9 make 27"
    assert in_words("say hello") == "say hello"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"tasks": {}}, "tasks"),
        ({"tasks": {"a": 3}}, "tasks.a"),
        ({"n_documents": 0}, "n_documents"),
        ({"thought_share": 1.5}, "thought_share"),
        ({"words_share": -0.1}, "words_share"),
    ],
)
def test_bad_configs(values, field):
    with pytest.raises(ConfigError) as error:
        corpus(**values)
    assert error.value.field == field


def test_more_questions_than_there_are_is_an_error_of_one_line():
    with pytest.raises(ConfigError, match="allow only"):
        texts(n_questions=10**6)
