"""The files of a report, and the script that makes them."""

import errno
import io
import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.report import report, write_report
from deepseek_lab.report.figures import FIGURES
from deepseek_lab.report.loss_figures import loss_figures
from deepseek_lab.report.pareto import pareto_figures
from deepseek_lab.report.writing import write_whole


@pytest.fixture(autouse=True)
def few_figures(request, monkeypatch):
    """One figure instead of six: these tests are about files and words."""
    if "every_figure" not in request.keywords:
        monkeypatch.setattr("deepseek_lab.report.figures.FIGURES", (pareto_figures,))


def written(folder, baseline=None, **how):
    console = Console(width=100, file=io.StringIO())
    made = write_report(folder, how.pop("out", None), baseline, console, **how)
    return made, console.file.getvalue()


def test_a_report_leaves_its_files_and_says_where(sweep, monkeypatch):
    monkeypatch.setattr("deepseek_lab.report.figures.FIGURES", (loss_figures,))
    made, text = written(sweep)
    files = (made.markdown, made.page, made.table)
    assert [path.relative_to(sweep).as_posix() for path in files] == ["report.md", "report.html", "table.csv"]
    assert sweep / "plots" / "loss.png" in made.plots
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made.plots)
    assert all(path.with_suffix(".svg").is_file() for path in made.plots)
    assert all(f"plots/{path.name}" in made.markdown.read_text() for path in made.plots)
    assert f"tensorboard --logdir {sweep}" in text
    assert all(str(path) in text for path in (*files, sweep / "plots"))
    assert not list(sweep.rglob("*.partial"))


def test_a_second_report_replaces_the_first(sweep, runs):
    written(sweep)
    assert "Not complete" not in (sweep / "report.md").read_text()
    runs.stop("mha", 3)
    made, text = written(sweep)
    assert len(made.unfinished) == 1
    assert "not finished" in text
    words = made.markdown.read_text()
    assert "Not complete: 1 of 6 runs are not finished" in words
    assert "at step 600 of 600 (100%)" in words


def test_a_failed_run_is_reported_with_its_reason_and_the_end_of_its_log(runs, three_seeds):
    log = (
        "".join(f"step {i}\n" for i in range(40))
        + "Traceback (most recent call last):\n  ...\nValueError: no & sense\n"
    )
    failed = runs.stop("mla", 4, log)
    made, text = written(three_seeds)
    words = made.markdown.read_text()
    assert f"| `{failed.name}` | failed | at step 600 of 600 (100%) | ValueError: no & sense |" in words
    assert "    step 39\n" in words
    assert "step 20\n" not in words
    assert "(ValueError: no & sense)" in " ".join(text.split())
    assert "ValueError: no &amp; sense</pre>" in made.page.read_text()


def test_a_sweep_of_which_nothing_is_finished_has_a_report_too(runs):
    runs.stop("mla", 1, "error: attention.n_heads must be positive\n")
    made, text = written(runs.folder)
    assert (made.comparison, made.table, made.plots) == (None, None, ())
    assert "Not complete: 1 of 1 runs" in made.markdown.read_text()
    assert "n_heads must be positive" in " ".join(text.split())


def test_a_folder_without_runs_is_refused_in_one_line(runs):
    with pytest.raises(DataError, match="no such folder"):
        written(runs.folder)
    runs.folder.mkdir()
    with pytest.raises(DataError, match="holds no run"):
        written(runs.folder)
    assert not (runs.folder / "report.md").exists()


def test_runs_of_several_sweeps_stand_in_one_report(runs, tmp_path):
    first, second = runs.add("mha"), runs.add("mla", bits=2.1)
    with pytest.raises(ConfigError, match="out has no value"):
        written([first, second])
    made, _ = written([first, second], out=tmp_path / "both")
    assert [variant.label for variant in made.comparison.variants] == ["mha", "mla"]
    assert made.page.parent == tmp_path / "both"
    assert first.name in made.markdown.read_text()


ABLATION = {"question": "Which attention?", "baseline": ["attention=gqa"], "metrics": ["val/loss", "val/bits_per_byte"]}


def test_the_ablation_names_question_baseline_and_metrics(runs):
    for attention in ("mha", "gqa"):
        runs.add(attention, ablation=ABLATION)
    made, _ = written(runs.folder)
    words = made.markdown.read_text()
    assert made.comparison.baseline.label == "gqa"
    assert "Which attention?" in words
    assert words.index("## Results: validation loss") < words.index("## Results: bits per byte")
    assert written(runs.folder, "mha")[0].comparison.baseline.label == "mha"
    assert "## Results: bits per byte" not in written(runs.folder, metrics=["val/loss"])[0].markdown.read_text()


def test_an_ablations_baseline_that_is_not_there_yet_is_said(runs):
    runs.add("mha", ablation=ABLATION)
    runs.add("mla", ablation=ABLATION)
    made, text = written(runs.folder)
    assert made.comparison.baseline.label == "mha"
    assert "baseline (attention=gqa) has no finished run here; mha stands in" in " ".join(text.split())


def test_a_match_stands_with_what_it_missed(runs):
    runs.add("mha", match={"rule": "params", "target": 1000, "reached": 1000, "residual": 0.0})
    stored = {"rule": "params", "target": 1000, "reached": 1004, "residual": 0.004}
    runs.add("mla", overrides=["model.intermediate_size=77", "match.target=1000"], match=stored)
    words = written(runs.folder)[0].markdown.read_text()
    row = next(line for line in words.splitlines() if line.startswith("| mla") and "params" in line)
    assert "| params | +0.40% |" in row
    assert "at equal parameters" in words


def test_a_refused_baseline_writes_nothing(sweep):
    with pytest.raises(ConfigError):
        written(sweep, "none")
    assert not (sweep / "report.md").exists()


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    write_whole(path, b"old")
    monkeypatch.setattr("pathlib.Path.replace", lambda self, target: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="could not be written"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_must_be_a_text():
    with pytest.raises(ConfigError, match="runs must name a folder"):
        report(OmegaConf.create({"runs": 3, "out": None, "baseline": None, "metrics": None}))


def test_an_unknown_metric_is_refused_with_the_nearest(sweep):
    cfg = OmegaConf.create({"runs": str(sweep), "out": None, "baseline": None, "metrics": ["val/bit_per_byte"]})
    with pytest.raises(ConfigError, match=r"metrics: no curve 'val/bit_per_byte' .*did you mean 'val/bits_per_byte'"):
        report(cfg)


def script(*arguments):
    command = [sys.executable, str(PROJECT_ROOT / "scripts" / "report.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_script_prints_the_table_and_needs_no_torch(sweep):
    done = script(f"runs={sweep}", "baseline=mla")
    assert (done.returncode, done.stderr) == (0, "")
    assert "add-one trigram" in done.stdout
    assert "against mla" in done.stdout
    code = "import sys, deepseek_lab.report, deepseek_lab.command_line; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_script_refuses_a_missing_folder_with_one_line_and_2(tmp_path):
    done = script(f"runs={tmp_path / 'gone'}")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_runs_that_nobody_may_write_to_are_shown_and_the_way_out_is_named(sweep, monkeypatch, number):
    def refused(path, content):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("deepseek_lab.report.writing.write_whole", refused)
    console = Console(width=100, file=io.StringIO())
    with pytest.raises(OSError, match=r"out=FOLDER writes the report elsewhere") as caught:
        write_report(sweep, None, None, console)
    assert str(sweep) in str(caught.value)
    shown = console.file.getvalue()
    assert "mla" in shown
    assert "report.html" not in shown


def test_runs_that_held_nothing_out_have_a_report_without_those_columns(runs, monkeypatch):
    monkeypatch.setattr("deepseek_lab.report.figures.FIGURES", FIGURES)
    for attention in ("mha", "mla"):
        folder = runs.add(attention, metrics={"train/loss": 2.0}, baselines={})
        (folder / "metrics.jsonl").write_text('{"step": 1, "train/loss": 2.0}\n')
    made, text = written(runs.folder)
    assert "No bits per byte were measured of mha" in " ".join(text.split())
    assert made.plots == ()
    rows = [line.split(",") for line in made.table.read_text().splitlines()]
    columns = dict(zip(rows[0], rows[1], strict=False))
    assert (columns["val_loss"], columns["bits_per_byte"], columns["difference_to_baseline"]) == ("", "", "")
    runs.add("gqa")
    made, text = written(runs.folder, "gqa")
    (line,) = (line for line in text.splitlines() if line.split()[:1] == ["mla"])
    assert line.split()[2:5] == ["–"] * 3
    assert "loss" in {path.stem for path in made.plots}
