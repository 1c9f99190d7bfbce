"""Reading run folders: what is finished, what is not, and what is broken."""

import json

import pytest

from deepseek_lab.config import DataError
from deepseek_lab.report.runs import read_run, read_runs


def test_a_finished_run_is_read_whole(runs):
    run = read_run(runs.add("mla", seed=3, bits=2.1))
    assert (run.choices["attention"], run.seed, run.bits_per_byte) == ("mla", 3, 2.1)
    assert (run.total_params, run.kv_cache_bytes_per_token, run.trigram_bits_per_byte) == (1_060_000, 3072, 2.73)
    assert [point.step for point in run.curve] == list(range(0, 601, 50))
    assert (run.curve[-1].tokens, run.curve[-1].seconds) == (614_400, 50.0)
    assert (run.flops_per_token, run.metrics["val/bits_per_byte"], run.match) == (6e6, 2.1, None)


def test_runs_stand_in_the_order_of_their_sweep_not_of_their_names(runs):
    runs.add("mqa", job=1)
    runs.add("mha", job=0)
    runs.add("gqa", job=10)
    runs.add("mla", job=2)
    finished, _ = read_runs(runs.folder)
    assert [run.choices["attention"] for run in finished] == ["mha", "mqa", "mla", "gqa"]


def test_runs_are_found_at_any_depth_and_the_folder_may_be_a_run_itself(runs):
    folder = runs.add()
    assert len(read_runs(folder)[0]) == len(read_runs(folder.parent)[0]) == len(read_runs(folder.parent.parent)[0]) == 1


def test_a_run_without_done_is_listed_with_its_last_whole_row(runs):
    running = runs.add("mla")
    (running / "DONE").unlink()
    (running / "summary.json").unlink()
    with (running / "metrics.jsonl").open("a") as file:
        file.write('{"step": 650, "train/lo')
    starting = runs.folder / "attention-mqa-1"
    (starting / ".hydra").mkdir(parents=True)
    finished, unfinished = read_runs(runs.folder)
    assert finished == []
    assert {run.folder.name: run.step for run in unfinished} == {running.name: 600, starting.name: None}
    assert {run.progress for run in unfinished} == {"at step 600 of 600 (100%)", "before its first row"}


def test_runs_of_several_sweeps_are_read_together_and_none_twice(runs):
    first, second = runs.add("mha"), runs.add("mla")
    finished, _ = read_runs([first, second, runs.folder])
    assert [run.choices["attention"] for run in finished] == ["mha", "mla"]


def test_a_match_is_read_and_none_is_no_match(runs):
    stored = {"rule": "params", "target": 1000.0, "reached": 1004.0, "residual": 0.004}
    match = read_run(runs.add(match=stored)).match
    assert (match.rule, match.target, match.reached, match.residual) == ("params", 1000.0, 1004.0, 0.004)
    assert read_run(runs.add(match={**stored, "rule": "none"})).match is None


@pytest.mark.parametrize("text", ["", "{", "[]", "no text \xff"])
def test_a_broken_summary_names_the_file(runs, text):
    path = runs.add() / "summary.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"summary\.json") as caught:
        read_runs(runs.folder)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["seed", "counts", "metrics", "choices", "tokens"])
def test_a_summary_that_lacks_a_value_names_it(runs, name):
    path = runs.add() / "summary.json"
    summary = json.loads(path.read_text())
    del summary[name]
    path.write_text(json.dumps(summary))
    with pytest.raises(DataError, match=f"summary.json: has no '{name}'"):
        read_runs(runs.folder)


def test_a_value_of_the_wrong_kind_is_a_data_error(runs):
    runs.add(counts={"total_params": None, "active_params": 1, "mtp_params": 0})
    with pytest.raises(DataError, match=r"summary\.json: holds a value of the wrong kind"):
        read_runs(runs.folder)


@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl"])
def test_a_finished_run_without_a_file_is_broken(runs, name):
    (runs.add() / name).unlink()
    with pytest.raises(DataError, match=f"{name}: no such file, though the run has a DONE"):
        read_runs(runs.folder)


def test_a_broken_row_is_named_by_its_line(runs):
    path = runs.add() / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, \n')
    with pytest.raises(DataError, match=r"metrics\.jsonl line 2: is no JSON"):
        read_runs(runs.folder)


def test_values_that_were_not_finite_are_no_points_and_missing_tokens_are_worked_out(runs):
    folder = runs.add()
    rows = [{"step": 10, "val/bits_per_byte": None}, {"step": 20, "val/bits_per_byte": 3.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (point,) = read_run(folder).curve
    assert (point.step, point.tokens, point.seconds) == (20, 20 * 1024, None)


def test_the_seconds_of_a_validation_lie_between_those_of_the_rows_around_it(runs):
    folder = runs.add()
    rows = [{"step": 10, "perf/seconds": 2.0}, {"step": 15, "val/bits_per_byte": 3.0}, {"step": 20, "perf/seconds": 6}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [point.seconds for point in read_run(folder).curve] == [4.0]


def test_a_missing_folder_has_its_nearest_name(runs):
    runs.add()
    with pytest.raises(DataError, match="no such folder; did you mean 'sweep'"):
        read_runs(runs.folder.with_name("sweap"))


def test_the_order_typed_stands_before_numbers_and_names(runs):
    first, second, third = runs.add("mha", job=0), runs.add("gqa", job=0), runs.add("mla", job=0)
    order = [third.name, first.name]
    (runs.folder / "jobs.json").write_text(json.dumps({"folders": order}))
    finished, _ = read_runs(runs.folder)
    assert [run.folder for run in finished] == [third, first, second], "one that was not typed comes last"
    (runs.folder / "jobs.json").write_text("[")
    assert len(read_runs(runs.folder)[0]) == 3


def test_folders_stand_in_the_order_in_which_they_are_given(runs, tmp_path):
    b, a = (type(runs)(tmp_path / name) for name in "ba")
    folders = [b.add("mla"), a.add("mha")]
    assert [run.folder for run in read_runs([b.folder, a.folder])[0]] == folders
    assert [run.folder for run in read_runs([a.folder, b.folder])[0]] == folders[::-1]
