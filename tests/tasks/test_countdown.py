"""Countdown: every puzzle has its solution, answers are judged exactly, splits share no puzzle."""

import itertools
import random
import time
from collections import Counter

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.tasks.combination import combined
from deepseek_lab.tasks.countdown import Countdown, puzzle_in
from deepseek_lab.tasks.expression import parse
from deepseek_lab.tasks.task import SPLITS, Example, WorkedTask

TASK: WorkedTask = Countdown.Config().build()
EXAMPLE = Example(question="make 29 from 3, 5, 8", answer="3*8+5")


def judged(*answers, task=TASK, example=EXAMPLE):
    said = [f"<think>3*8=24,24+5=29</think><answer>{answer}</answer>" for answer in answers]
    return [reward.total for reward in task.rewards([example] * len(said), said)]


def test_a_real_minus_and_a_final_dot_are_read_and_a_draft_is_not():
    example = Example(question="make 19 from 3, 5, 8", answer="3*8-5")
    assert judged("3*8\N{MINUS SIGN}5", "3*8-5.", "3*8\N{EN DASH}5", example=example) == [1, 1, 0]
    draft = "<think>3*8\N{MINUS SIGN}5=19\n<answer>3+8+5</answer>?</think><answer>3*8-5</answer>"
    (reward,) = TASK.rewards([example], [draft])
    assert reward.total == reward.parts["format"] == 1
    assert [value for _, value in reward.steps] == [1, 0, 1]
    assert reward.steps[-1][0] == len(draft)
    (only_a_draft,) = TASK.rewards([example], ["<think><answer>3*8-5</answer></think>"])
    assert (only_a_draft.total, [value for _, value in only_a_draft.steps]) == (0, [0])


def test_combinations_use_every_number_and_are_worth_what_they_say():
    source, seen = random.Random(0), 0
    for _ in range(3000):
        numbers = [source.randint(1, 9) for _ in range(source.randint(2, 5))]
        found = combined(numbers, "+-*/", source)
        if found:
            expression = parse(found.text)
            assert expression.value == found.value > 0
            assert Counter(expression.numbers) == Counter(numbers)
            assert "." not in found.text
            seen += 1
    assert seen > 300


@pytest.mark.parametrize("split", SPLITS)
def test_every_puzzle_is_solved_by_its_own_answer(split):
    for example in TASK.examples(split, 300):
        target, numbers = puzzle_in(example)
        assert 1 <= target <= 100
        assert 3 <= len(numbers) <= 4
        assert set(numbers) <= set(range(1, 21))
        assert judged(example.answer, example=example) == [1.0]


def test_splits_share_no_puzzle_even_with_numbers_exchanged():
    small = Countdown.Config(max_numbers=3, max_number=9).build()
    keys = {
        split: {(target, *sorted(numbers)) for target, numbers in map(puzzle_in, small.examples(split, 200))}
        for split in SPLITS
    }
    for one, other in itertools.combinations(SPLITS, 2):
        assert keys[one].isdisjoint(keys[other])


def test_the_same_puzzles_again_however_many():
    assert TASK.examples("train", 40)[:20] == TASK.examples("train", 20)
    assert len({example.question for example in TASK.examples("train", 200)}) == 200
    assert Countdown.Config(seed=1).build().examples("train", 20) != TASK.examples("train", 20)
    with pytest.raises(ConfigError, match="countdown allow only"):
        Countdown.Config(max_numbers=3, max_number=2).build().examples("test", 100)


def test_right_and_wrong_answers():
    assert judged("3*8+5", " 5 + (8 * 3) ", "(3*8)+5") == [1, 1, 1]
    assert judged("3*8+4", "3*8+5+0", "3*8+5*1", "29", "3*8", "3*8+5=29", "3*3+8+5", "24+5", "-3*-8+5") == [0] * 9
    assert judged("", "(" * 10_000, "__import__('os').getpid()", "3*8+5;", "３*8+5", "3×8+5") == [0] * 6


def test_division_is_exact():
    third = Example(question="make 8 from 3, 3, 8, 8", answer="8/(3-8/3)")
    assert judged("8/(3-8/3)", "8/(3-(8/3))", "8/3-8/3", example=third) == [0, 0, 0], "the value is 24"
    third = Example(question="make 3 from 10, 3", answer="")
    assert judged("10/3", "(10/3)", example=third) == [0, 0], "nearly 3 is not 3"
    assert judged("8/(3-8/3)", example=Example(question="make 24 from 3, 3, 8, 8", answer="")) == [1]


def test_every_number_or_any():
    loose = Countdown.Config(use="any").build()
    example = Example(question="make 8 from 3, 5, 9", answer="3+5")
    assert judged("3+5", "3+5+9-9", "5+3", task=loose, example=example) == [1, 0, 1]
    assert judged("3+5", example=example) == [0]


def test_a_worked_search_ends_at_the_target_and_earns_every_part():
    draw = random.Random(0)
    lengths = Counter()
    for example in TASK.examples("train", 200):
        worked = TASK.worked(example, draw)
        (reward,) = TASK.rewards([example], [worked.text])
        assert reward.parts == {"correct": 1.0, "format": 1.0, "language": 1.0}
        assert {value for _, value in reward.steps} == {1.0}
        lines = worked.thought.splitlines()
        target, _ = puzzle_in(example)
        assert [line.endswith(f"={target}") for line in lines] == [False] * (len(lines) - 1) + [True]
        lengths[len(lines)] += 1
    assert set(lengths) == {1, 2, 3, 4, 5}


def test_equal_answers_are_equal_votes():
    assert TASK.vote("<answer>3 * 8+5</answer>") == TASK.vote("<answer>3*8 +5</answer>") == "3*8+5"
    assert TASK.vote("<answer>8 \N{MINUS SIGN} 5.</answer>") == "8-5"
    assert TASK.vote("<answer>3 *</answer>") is None


def test_difficulty_grows_with_numbers_and_products():
    by_question = {e.question: e for e in TASK.examples("train", 400)}
    for example in by_question.values():
        _, numbers = puzzle_in(example)
        assert example.difficulty == len(numbers) + sum(sign in "*/" for sign in example.answer)


def test_thousands_of_puzzles_are_made_at_once():
    start = time.monotonic()
    TASK.examples("train", 3000)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_numbers", 1),
        ("max_numbers", 9),
        ("min_number", 30),
        ("operations", ["^"]),
        ("operations", []),
        ("use", "x"),
    ],
)
def test_bad_values(field, value):
    with pytest.raises(ConfigError):
        Countdown.Config(**{field: value})


def test_another_tasks_question_is_named():
    with pytest.raises(ValueError, match="no countdown question: '1"):
        TASK.rewards([Example(question="1 + 1 = ?", answer="2")], ["<answer>2</answer>"])
