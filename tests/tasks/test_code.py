"""Programs judged by their outputs: only all right is right, files are checked, splits share no problem."""

import itertools
import json
import random
import re

import pytest

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.tasks.code import Code, program_in
from deepseek_lab.tasks.code_problems import TEMPLATES
from deepseek_lab.tasks.sandbox.runner import Sandbox, SandboxError
from deepseek_lab.tasks.task import SPLITS, Example

PROBLEMS = [
    {
        "question": "Add f(a, b).",
        "entry": "f",
        "tests": [{"input": [1, 2], "output": 3}, {"input": [0, 5], "output": 5}],
    },
    {"question": "Read a number, print it and one more.", "tests": [{"input": "3\n", "output": "3\n4\n"}]},
]


@pytest.fixture(scope="module")
def templates():
    return Code.Config().build()


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    path = tmp_path_factory.mktemp("code") / "a.jsonl"
    rows = [{**problem, "question": f"{n}: {problem['question']}"} for n in range(30) for problem in PROBLEMS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = Code.Config(path=str(path)).build()
    examples = task.examples("train", 30)
    return task, next(e for e in examples if "Add" in e.question), next(e for e in examples if "Read" in e.question)


def said(program):
    return f"<think>so</think><answer>{program}</answer>"


def test_every_template_is_solved_by_its_own_program_and_by_no_other(templates):
    draw = random.Random(0)
    examples = templates.examples("train", 200)
    by_template = {re.sub(r"\d+", "", example.answer): example for example in examples}
    assert len(by_template) == len(TEMPLATES)
    chosen = [*by_template.values()]
    solved = templates.rewards(chosen, [templates.worked(example, draw).text for example in chosen])
    assert [reward.total for reward in solved] == [1.0] * len(chosen)
    others = [said("def f(x):\n    return -1000")] * len(chosen)
    assert [reward.total for reward in templates.rewards(chosen, others)] == [0.0] * len(chosen)


def test_splits_share_no_problem_and_are_always_the_same(templates):
    by_split = {split: {e.question for e in templates.examples(split, 20)} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert by_split[one].isdisjoint(by_split[other])
    assert templates.examples("test", 20) == templates.examples("test", 30)[:20]
    assert templates.examples("test", 20) == Code(templates.config).examples("test", 20)


def test_verdicts_on_a_function(problems):
    task, add, _ = problems
    programs = {
        "def f(a, b):\n    return a + b": (1.0, 1.0),
        "```python\ndef f(a, b):\n    return a + b\n```": (1.0, 1.0),
        "import operator\nf = operator.add": (1.0, 1.0),
        "def f(a, b):\n    return 3": (0.0, 0.5),
        "def f(a, b):\n    print(a + b)": (0.0, 0.0),
        "def g(a, b):\n    return a + b": (0.0, 0.0),
        "def f(a, b):": (0.0, 0.0),
    }
    rewards = task.rewards([add] * len(programs), [said(program) for program in programs])
    assert [(reward.total, reward.parts["tests"]) for reward in rewards] == list(programs.values())
    assert all(reward.parts["format"] == 1.0 for reward in rewards)
    assert rewards[5].failure == "NameError: there is no f"
    assert rewards[6].failure.startswith(("IndentationError", "SyntaxError"))


def test_verdicts_on_a_program_that_reads_and_prints(problems):
    task, _, read = problems
    right, wrong, stops, fails = task.rewards(
        [read] * 4,
        [
            said("a = int(input())\nprint(a)\nprint(a + 1)"),
            said("print(3)"),
            said("import sys\na = int(sys.stdin.read())\nprint(a, a + 1, sep='\\n')\nsys.exit()"),
            said("print('3\\n4')\nraise SystemExit(1)"),
        ],
    )
    assert [reward.total for reward in (right, wrong, stops, fails)] == [1, 0, 1, 0]


def test_no_program_is_no_run(problems):
    task, add, _ = problems
    rewards = task.rewards([add] * 4, ["", "def f(a, b): return a + b", said(" "), said("x" * 10_001)])
    assert [reward.total for reward in rewards] == [0.0] * 4
    assert [reward.failure for reward in rewards][2:] == [
        "the answer is empty",
        "an answer of more than 10000 characters",
    ]
    assert task.vote(said("```\nf = 1\n```")) == "f = 1"
    assert program_in("<answer>```py\nf = 1\n```</answer>") == "f = 1"
    assert program_in("<think><answer>f = 0</answer></think><answer>f = 1.</answer>") == "f = 1."


def test_a_sandbox_that_fails_is_no_verdict(problems, monkeypatch):
    def fail(*_):
        raise SandboxError("no more processes")

    monkeypatch.setattr(Sandbox, "outcomes", fail)
    task, add, _ = problems
    (reward,) = task.rewards([add], [said("f = 1")])
    assert reward.total is None
    assert reward.failure == "the sandbox failed: no more processes"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({}, "needs a text 'question'"),
        ({"question": "a"}, "needs a list 'tests'"),
        ({"question": "a", "tests": []}, "needs a list 'tests'"),
        ({"question": "a", "tests": [{"input": []}]}, "test 1: needs 'input' and 'output'"),
        ({"question": "a", "tests": [{"input": [1], "output": "1"}]}, "must be texts where there is no 'entry'"),
        ({"question": "a", "entry": "f", "tests": [{"input": 1, "output": 1}]}, "must be the list of the function's"),
        ({"question": "a", "entry": "f()", "tests": []}, "must be the name of a function"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, why):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=why) as error:
        Code.Config(path=str(path)).build()
    assert f"{path}, line 1" in str(error.value)


def test_too_few_problems_and_other_tasks_problems_are_named(problems):
    task, _, _ = problems
    with pytest.raises(ConfigError, match=r"task.path holds only \d+ test problems"):
        task.examples("test", 1000)
    with pytest.raises(ValueError, match="no problem with tests: '1"):
        task.rewards([Example(question="1 + 1 = ?", answer="2")], ["<answer>2</answer>"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sandbox", "none"),
        ("cpu_seconds", 0),
        ("wall_seconds", 0.0),
        ("memory_bytes", 1),
        ("n_tests", 0),
        ("processes", 0),
    ],
)
def test_bad_values(field, value):
    with pytest.raises(ConfigError):
        Code.Config(**{field: value})
