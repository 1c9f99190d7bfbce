"""evaluate.py what=task: figures from known attempts, and the way from a run folder to a json."""

import json
import runpy
import sys

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.attempts import Attempts, AttemptsTest, measure
from deepseek_lab.tasks.task import Example
from serving.live import ROOT
from talking_run import talking_run

SETTINGS = {
    "questions": 4,
    "samples": 4,
    "k": [1, 4],
    "prompt": "{question}",
    "chat": False,
    "thinking": False,
    "max_new_tokens": 8,
    "seed": 0,
}


def attempts(right, votes, cut=()):
    totals = [1.0 if good else 0.0 for good in right]
    return Attempts(
        Example(question="q", answer="1"), [""] * len(right), totals, votes, [i in cut for i in range(4)], [5] * 4
    )


def test_figures_of_known_attempts():
    some = [
        attempts([True, False, False, False], ["1", "2", "2", None], cut=[3]),
        attempts([True, True, False, False], ["1", "1", "2", "3"]),
        attempts([False] * 4, [None] * 4),
    ]
    figures = measure(some, "sums", [4, 1, 1])
    assert figures["eval/sums/pass@1"] == pytest.approx((1 / 4 + 2 / 4 + 0) / 3)
    assert figures["eval/sums/pass@4"] == pytest.approx(2 / 3)
    assert figures["eval/sums/maj@4"] == pytest.approx(1 / 3)
    assert figures["answered"] == pytest.approx(7 / 12)
    assert figures["cut_off"] == pytest.approx(1 / 12)
    for name, (low, high, kind) in figures["intervals"].items():
        assert 0 <= low <= figures[name] <= high <= 1
        assert kind.startswith("Wilson" if "maj" in name else "bootstrap")


def test_what_nobody_can_judge_is_not_right():
    unknown = Attempts(Example(question="q", answer="1"), [""], [None], ["1"], [False], [5])
    assert measure([unknown], "sums", [1])["eval/sums/pass@1"] == 0.0


@pytest.mark.parametrize(
    ("field", "value"),
    [("k", [5]), ("k", []), ("k", [0]), ("samples", 0), ("prompt", "no question"), ("thinking", True), ("seed", -1)],
)
def test_bad_values(field, value):
    with pytest.raises(ConfigError):
        AttemptsTest(**{**SETTINGS, field: value})


def evaluate(run, *overrides):
    sys.argv = ["evaluate.py", f"checkpoint={run}", *overrides]
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "scripts" / "evaluate.py"), run_name="__main__")
    return stop.value.code


def test_from_a_run_to_a_table_and_a_json(tmp_path, capsys):
    run = talking_run(tmp_path / "talker")
    command = ["what=task", "task=products", "split=test", "attempts.questions=3", "attempts.max_new_tokens=6"]
    assert evaluate(run, *command, "attempts.samples=2", "attempts.k=[1,2]", "attempts.chat=true") == 0
    printed = capsys.readouterr()
    figures = json.loads(printed.out)
    stored = json.loads((run / "eval_products_test.json").read_text())
    assert stored == {name: value for name, value in figures.items() if name != "checkpoint"}
    assert "products/pass@2" in printed.err
    rows = [json.loads(line) for line in (run / "eval_products_test.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    assert all(len(row["said"]) == len(row["right"]) == 2 for row in rows)
    assert evaluate(run, *command, "attempts.max_new_tokens=999") == 2
    assert "there is room for" in capsys.readouterr().err
