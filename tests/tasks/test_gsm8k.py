"""Problems of GSM8K's form: numbers exactly, splits without a common question, bad files by name."""

import json
import random

import pytest

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.tasks.gsm8k import GradeSchoolMath
from deepseek_lab.tasks.task import SPLITS, WorkedTask


def row(number):
    worked = f"He has {number} + 1 = <<{number}+1={number + 1}>>{number + 1} apples.\nNo more.\n#### {number + 1:,}"
    return {"question": f"Tom has {number} apples and gets one. How many?", "answer": worked}


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def task(tmp_path) -> WorkedTask:
    return GradeSchoolMath.Config(path=written(tmp_path / "a.jsonl", map(row, range(900, 1200)))).build()


def test_numbers_are_compared_exactly(task):
    example = next(e for e in task.examples("train", 200) if int(e.answer) >= 1000)
    n = int(example.answer)
    assert f"{n - 1} apples" in example.question
    assert example.difficulty == 2
    said = {f"{n}": 1, f"{n:,}": 1, f"{n}.0": 1, f"+{n}": 1}
    said |= {f"${n:,}": 1, f"{n} apples": 1, f"{n}.": 1, f"\\boxed{{{n}}}": 1, f"{2 * n}/2": 1}
    said |= {f"{n}.5": 0, f"{str(n)[:2]},{str(n)[2:]}": 0, f"{n} thousand": 0, f"{n} or so": 0, f"{n}k": 0}
    rewards = task.rewards([example] * len(said), [f"<think>so</think><answer>{a}</answer>" for a in said])
    assert [reward.total for reward in rewards] == list(said.values())
    assert {reward.parts["format"] for reward in rewards} == {1.0}
    assert "language" not in rewards[0].parts
    assert rewards[-1].failure == "the answer is no number"
    assert task.vote(f"<answer>{n:,}.0</answer>") == f"{n}"
    assert task.vote(f"<answer>${n:,} in all</answer>") == f"{n}"
    assert task.vote(f"{n}") is None


def test_a_box_behind_the_thought_is_an_answer(task):
    example = task.examples("train", 1)[0]
    n = int(example.answer)
    said = {
        f"<think>\\boxed{{1}}?</think>So it is \\boxed{{{n}}}.": 1,
        f"\\boxed{{{n}}}, that is \\boxed{{{n}}}": 1,
        f"<think><answer>{n + 1}</answer>?</think><answer>{n}</answer>": 1,
        f"<think><answer>{n}</answer></think>": 0,
        f"<think>so \\boxed{{{n}}}": 0,
        f"\\boxed{{{n}}} or \\boxed{{1}}": 0,
        f"\\boxed{{{n}}} <answer>1</answer>": 0,
        f"\\boxed{{{n}": 0,
        f"{n}": 0,
    }
    assert [reward.total for reward in task.rewards([example] * len(said), list(said))] == list(said.values())


@pytest.mark.parametrize(
    ("number", "answer"), [("\N{MINUS SIGN}3", "-3"), ("1/2", "1/2"), ("$1,200", "1200"), ("7.", "7")]
)
def test_numbers_of_the_files_are_read_alike(tmp_path, number, answer):
    path = written(tmp_path / "a.jsonl", [{"question": str(n), "answer": f"So.\n#### {number}"} for n in range(30)])
    task = GradeSchoolMath.Config(path=path).build()
    example = task.examples("train", 1)[0]
    assert example.answer == answer
    assert [r.total for r in task.rewards([example] * 2, [f"<answer>{n}</answer>" for n in (number, "8")])] == [1, 0]


def test_what_is_worked_is_the_files_own_without_annotations(task):
    example = task.examples("train", 1)[0]
    worked = task.worked(example, random.Random(0))
    assert worked.thought.endswith("apples.\nNo more.")
    assert "<<" not in worked.thought
    assert task.rewards([example], [worked.text])[0].total == 1


def test_an_answer_that_is_no_whole_number_can_be_given(tmp_path):
    path = written(tmp_path / "a.jsonl", [{"question": str(n), "answer": "So.\n#### 12.50"} for n in range(30)])
    task = GradeSchoolMath.Config(path=path).build()
    example = task.examples("train", 1)[0]
    assert task.rewards([example], [task.worked(example, random.Random(0)).text])[0].total == 1


def test_splits_are_whole_and_share_nothing(task):
    sizes = {"train": 200, "validation": 10, "test": 10}
    questions = [e.question for split in SPLITS for e in task.examples(split, sizes[split])]
    assert len(set(questions)) == len(questions)
    with pytest.raises(ConfigError, match=r"task.path holds only \d+ test problems, not 1000"):
        task.examples("test", 1000)


def test_a_test_of_its_own_takes_its_questions_out_of_the_rest(tmp_path):
    path, test_path = (tmp_path / name for name in ("train.jsonl", "test.jsonl"))
    written(path, map(row, range(100)))
    written(test_path, map(row, range(90, 110)))
    task = GradeSchoolMath.Config(path=str(path), test_path=str(test_path)).build()
    tested = {e.question for e in task.examples("test", 20)}
    assert tested == {row(number)["question"] for number in range(90, 110)}
    assert tested.isdisjoint(e.question for e in task.examples("train", 60))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 2 is no JSON"),
        ("[1]", "line 2 is no JSON object"),
        ('{"question": "a"}', "line 2: needs the texts"),
        ('{"question": "a", "answer": "so 5"}', "line 2: the answer has no ####"),
        ('{"question": "a", "answer": "#### five"}', "line 2: 'five' behind #### is no number"),
        ("[" * 100_000, "line 2 is no JSON"),
        ("\udcff", r"line 2 is not UTF-8 \(byte 0xff\)"),
    ],
)
def test_bad_rows_are_named(tmp_path, line, why):
    path = tmp_path / "a.jsonl"
    path.write_bytes((json.dumps(row(1)) + "\n" + line + "\n").encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=why) as error:
        GradeSchoolMath.Config(path=str(path)).build()
    assert str(path) in str(error.value)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"^path names no .jsonl file"):
        GradeSchoolMath.Config(path=str(tmp_path)).build()
    there = written(tmp_path / "a.jsonl", [row(1)])
    with pytest.raises(ConfigError, match=r"^test_path names no .jsonl file"):
        GradeSchoolMath.Config(path=there, test_path=str(tmp_path / "b.jsonl")).build()
