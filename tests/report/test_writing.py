"""The files of a report, and the script that makes them."""

import io
import subprocess
import sys

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.report import report, write_report
from deepseek_lab.report.writing import write_whole


def written(folder, baseline=None):
    console = Console(width=100, file=io.StringIO())
    made = write_report(folder, baseline, console)
    return made, console.file.getvalue()


def test_a_report_leaves_three_files_and_says_where(sweep):
    made, text = written(sweep)
    assert {path.relative_to(sweep).as_posix() for path in (made.markdown, made.table, made.figure)} == {
        "report.md",
        "table.csv",
        "plots/loss.png",
    }
    assert made.figure.read_bytes().startswith(b"\x89PNG")
    assert "plots/loss.png" in made.markdown.read_text()
    assert f"tensorboard --logdir {sweep}" in text
    assert all(str(path) in text for path in (made.markdown, made.table, made.figure))
    assert not list(sweep.rglob("*.partial"))


def test_a_second_report_replaces_the_first(sweep, runs):
    written(sweep)
    (runs.add("mha", seed=3, bits=2.5) / "DONE").unlink()
    made, text = written(sweep)
    assert len(made.unfinished) == 1
    assert "not finished" in text
    assert "## Not finished" in made.markdown.read_text()


def test_a_folder_with_nothing_finished_is_refused_in_one_line(runs):
    with pytest.raises(DataError, match="no such folder"):
        written(runs.folder)
    (runs.add() / "DONE").unlink()
    with pytest.raises(DataError, match=r"holds no finished run \(1 unfinished\)"):
        written(runs.folder)
    assert not (runs.folder / "report.md").exists()


def test_a_refused_baseline_writes_nothing(sweep):
    with pytest.raises(ConfigError):
        written(sweep, "none")
    assert not (sweep / "report.md").exists()


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    write_whole(path, b"old")
    monkeypatch.setattr("pathlib.Path.replace", lambda self, target: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_must_be_a_text():
    with pytest.raises(ConfigError, match="runs must name a folder"):
        report(OmegaConf.create({"runs": 3, "baseline": None}))


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
