"""Whatever a network writes: every verifier gives a verdict in bounded time, no credit, and nothing else happens."""

import json
import os
import time
from pathlib import Path

import pytest

from deepseek_lab.tasks.arithmetic import Arithmetic
from deepseek_lab.tasks.code import Code
from deepseek_lab.tasks.countdown import Countdown
from deepseek_lab.tasks.gsm8k import GradeSchoolMath
from deepseek_lab.tasks.instructions import Instructions

COMPLETIONS = [
    "",
    " ",
    "\0",
    "\ud800",
    "\N{SNOWMAN}\u202e\U0001f600" * 1000,
    "a" * 1_000_000,
    "\n" * 1_000_000,
    "(" * 10_000,
    "<think>" * 100_000,
    "<answer>" * 100_000,
    "<think>" + "1+1=2\n" * 100_000,
    "<think>" + "1+1=2," * 100_000 + "</think><answer>2</answer>",
    *(
        f"<think>so</think><answer>{answer}</answer>"
        for answer in (
            *(
                "",
                "(" * 10_000,
                ")" * 10_000,
                "((" * 40,
                "9" * 90,
                "9*" * 49,
                "1/0",
                "9**9**9**9",
                "1e999",
                "nan",
                "inf",
            ),
            *("__import__('os').system('touch {path}')", "open('{path}', 'w')", "exec('1')", "PASS", "True", "None"),
            *("\N{ARABIC-INDIC DIGIT FOUR}\N{ARABIC-INDIC DIGIT TWO}", "４２", "½", "0x2A", "4_2", "--42", "42\n42"),
            *("/proc/{parent}/environ", "${{oc.env:HOME}}", "{{{{ 7 * 7 }}}}", "'; DROP TABLE", "%s%n", "<b>42</b>"),
        )
    ),
    "<answer>1</answer>" * 2,
    "<answer><answer>1</answer></answer>",
    "</answer>1<answer>",
]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "a.jsonl"
    path.write_text("".join(json.dumps({"question": f"q{n}", "answer": "so\n#### 7"}) + "\n" for n in range(30)))
    return {
        "sums": Arithmetic.Config(operation="sum").build(),
        "products": Arithmetic.Config(operation="product").build(),
        "countdown": Countdown.Config().build(),
        "gsm8k": GradeSchoolMath.Config(path=str(path)).build(),
        "instructions": Instructions.Config().build(),
    }


@pytest.mark.parametrize("name", ["sums", "products", "countdown", "gsm8k", "instructions"])
def test_a_verdict_and_nothing_else(tasks, name, tmp_path):
    task = tasks[name]
    example = task.examples("train", 1)[0]
    path = tmp_path / "written"
    said = [completion.format(path=path, parent=os.getpid()) for completion in COMPLETIONS]
    start = time.monotonic()
    rewards = task.rewards([example] * len(said), said)
    votes = [task.vote(completion) for completion in said]
    assert time.monotonic() - start < 20
    assert [reward.total for reward in rewards] == [0.0] * len(said)
    assert all(0 <= value <= 1 for reward in rewards for value in reward.parts.values())
    assert all(0 <= end <= len(text) for text, reward in zip(said, rewards, strict=True) for end, _ in reward.steps)
    assert all(
        reward.failure is None or ("\n" not in reward.failure and len(reward.failure) < 300) for reward in rewards
    )
    assert len(votes) == len(said)
    assert not path.exists()


def test_programs_of_the_same_kind(tmp_path):
    """In the sandbox; worse programs stand in sandbox/test_hostile_programs.py."""
    task = Code.Config(cpu_seconds=1, wall_seconds=3.0).build()
    example = task.examples("train", 1)[0]
    path = tmp_path / "written"
    said = [completion.format(path=path, parent=os.getpid()) for completion in COMPLETIONS]
    start = time.monotonic()
    assert [reward.total for reward in task.rewards([example] * len(said), said)] == [0.0] * len(said)
    assert time.monotonic() - start < 60
    assert not path.exists()


def test_the_file_of_answers_is_no_way_in(tmp_path):
    """What a file holds is compared, never run."""
    path = tmp_path / "a.jsonl"
    row = {
        "question": "q",
        "entry": "f",
        "tests": [{"input": [1], "output": f"__import__('os').mkdir('{tmp_path}/x')"}],
    }
    path.write_text("".join(json.dumps({**row, "question": f"q{n}"}) + "\n" for n in range(20)))
    task = Code.Config(path=str(path)).build()
    (reward,) = task.rewards(task.examples("train", 1), ["<answer>f = lambda x: 1</answer>"])
    assert reward.total == 0.0
    assert not Path(f"{tmp_path}/x").exists()
