"""A comparison with an earlier result: every benchmark's rows are found, and the machine's own drift cancels."""

import io
import json
import runpy
import sys

import pytest
from rich.console import Console

from deepseek_lab.benchmarking.against import changes, measured, read_result, table
from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.config import DataError

LISTED = [{"row": "B8", "seconds": {"ours": [1.0, 2.0, 3.0], "theirs": [4.0]}, "ratios": {"theirs": [4.0]}}]
TRAINING = {
    "environment": {"threads": 2},
    "results": [{"workload": {"name": "S512", "batch": 8}, "contestants": {"ours": {"seconds": [1.0, 2.0]}}}],
}
NESTED = [{"shape": "wide", "choices": {"v3": {"kept": 5, "peak": 8e6, "seconds": [0.5]}}}]
POINTS = [{"row": "experts", "points": [{"value": 8, "seconds": [1.0]}, {"value": 16, "seconds": [2.0]}]}]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (LISTED, {"B8 ours": [1.0, 2.0, 3.0], "B8 theirs": [4.0]}),
        (TRAINING, {"S512 ours": [1.0, 2.0]}),
        (NESTED, {"wide v3 peak": [8e6], "wide v3": [0.5]}),
        (POINTS, {"experts 8": [1.0], "experts 16": [2.0]}),
        ("nothing", {}),
        ([1, 2], {}),
    ],
)
def test_rows_are_found_in_the_results_of_every_benchmark(content, rows):
    assert measured(content) == rows


def test_a_machine_at_half_its_speed_is_no_change_of_the_code():
    before = [{"row": "step", "seconds": [1.0, 1.0, 1.0], "sgemm_2048_gflops": 100.0}]
    now = [{"row": "step", "seconds": [2.0, 2.0, 2.0], "sgemm_2048_gflops": 50.0}]
    (change,) = changes(before, now)
    assert change.ratio == change.low == change.high == 2.0
    assert change.against_machine == 1.0


def test_the_spread_is_that_of_the_rounds_and_strangers_are_left_out():
    before = [{"row": "a", "seconds": [1.0, 1.1, 0.9]}, {"row": "gone", "seconds": [1.0]}]
    now = [{"row": "a", "seconds": [0.5, 0.6, 0.4]}, {"row": "new", "seconds": [1.0]}]
    (change,) = changes(before, now)
    assert change.row == "a"
    assert change.low < change.ratio == 0.5 < change.high < 1
    assert change.against_machine is None
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(table([change]))
    text = console.export_text()
    assert "0.50" in text
    assert "1.00 s" in text


@pytest.mark.parametrize(
    ("text", "problem"), [(None, "cannot be read"), ("{", "is no json"), ('{"a": 1}', "holds no result")]
)
def test_what_is_no_result_is_refused_by_name(tmp_path, text, problem):
    path = tmp_path / "old.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=problem) as refusal:
        read_result(path)
    assert str(path) in str(refusal.value)


def script(monkeypatch, *words):
    """scripts/benchmark.py in this process: its exit code."""
    monkeypatch.setattr(sys, "argv", ["scripts/benchmark.py", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(PROJECT_ROOT / "scripts" / "benchmark.py"), run_name="__main__")
    return stop.value.code


def test_the_script_compares_with_the_file_that_it_replaces(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("deepseek_lab.benchmarking.attention_step._TOKENS_A_ROUND", 256)
    monkeypatch.setattr("deepseek_lab.benchmarking.interleaved.sgemm_peak", lambda: 1e9)
    monkeypatch.setenv("COLUMNS", "200")  # a busy machine's wide spreads leave no room for the names
    words = ("attention", "--rows", "1x256", "--rounds", 2, "--out", tmp_path)
    assert script(monkeypatch, *words) == 0
    (first,) = json.loads((tmp_path / "attention_step.json").read_text())
    assert script(monkeypatch, *words, "--against", tmp_path) == 0
    (second,) = json.loads((tmp_path / "attention_step.json").read_text())
    assert first["seconds"] != second["seconds"]
    said = capsys.readouterr().out
    assert "Against the earlier result" in said
    assert "1x256 absorbed" in said


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("attention", "--against", "/nowhere/old.json"), "/nowhere/old.json"),
        (("attention", "--rows", "1x3"), "1x3 is none of"),
        (("attention", "--rounds", "0"), "at least 1"),
        (("all", "--rows", "S512"), "all takes every row"),
        (("all", "--minutes", "0"), "--minutes: must be above 0"),
        (("all", "--against", "/nowhere"), "no folder of results"),
        (("engine",), "--checkpoint"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_measured(words, problem, monkeypatch, capsys):
    monkeypatch.setattr("deepseek_lab.benchmarking.attention_step.measure", lambda *_: pytest.fail("measured"))
    assert script(monkeypatch, *words) == 2
    assert problem in capsys.readouterr().err


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The script's functions; its benchmarks only write down what they are asked."""
    monkeypatch.setattr(sys, "argv", ["scripts/benchmark.py", "all", "--out", str(tmp_path)])
    monkeypatch.setenv("COLUMNS", "200")
    return runpy.run_path(str(PROJECT_ROOT / "scripts" / "benchmark.py"))


def test_all_measures_each_that_it_can_and_judges(module, tmp_path, capsys):
    asked = []
    for what in module["BENCHMARKS"]:
        module["BENCHMARKS"][what] = lambda chosen: asked.append((chosen.what, chosen.rows, chosen.rounds))
    (tmp_path / "rl.json").write_text(json.dumps([{"row": "prompt16", "ratios": [2.5], "seconds": {"ours": [1.0]}}]))
    assert module["main"]() == 0
    first = module["BARS_FIRST"]
    assert {what for what, _, _ in asked[: len(first)]} == set(first)
    assert sorted(asked) == sorted((what, rows, 5) for what, rows in module["ROWS"].items() if what != "engine")
    said = capsys.readouterr().out
    assert "engine: left out" in said
    assert "rl prompt16, TRL" in said
    assert "not measured: (a) training --rows S512" in said


def test_no_row_begins_when_the_time_is_over(module, monkeypatch, capsys):
    now = iter([0.0, 50.0, 61.0])
    monkeypatch.setattr(module["time"], "monotonic", lambda: next(now))
    chosen = module["parse"](["all", "--minutes", "1"])
    chosen.what, chosen.rows = "rl", ["prompt16", "prompt128", "prompt512"]
    assert list(module["rows_in_time"](chosen)) == ["prompt16"]
    assert "rl: no time left for prompt128, prompt512" in capsys.readouterr().out


def test_bars_without_a_result_are_refused(tmp_path, monkeypatch, capsys):
    assert script(monkeypatch, "bars", "--out", tmp_path) == 2
    assert "holds no result that a bar is measured by" in capsys.readouterr().err


def test_the_rows_of_the_script_are_those_of_the_benchmarks():
    from deepseek_lab.benchmarking import experts, head_loss, memory, optimizers, scaling, trainer_overhead, training

    rows = runpy.run_path(str(PROJECT_ROOT / "scripts" / "benchmark.py"))["ROWS"]
    assert tuple(rows["memory"]) == memory.ROWS
    assert tuple(rows["scaling"]) == scaling.ROWS
    assert tuple(rows["experts"]) == experts.ROWS
    assert tuple(rows["head"]) == head_loss.ROWS
    assert rows["training"] == list(training.WORKLOADS)
    assert rows["optimizers"] == list(optimizers.ROWS)
    assert rows["trainer"] == list(trainer_overhead.ROWS)
