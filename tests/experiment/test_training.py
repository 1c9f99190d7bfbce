"""A refused resume changes nothing in the run's folder, whatever it is refused for."""

import hashlib
import json
import runpy
import shlex
import sys

import pytest
import torch

from deepseek_lab.advice import override
from deepseek_lab.callbacks.checkpointing import Checkpointing
from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.report.runs import read_runs

SMALL = (
    *("data.seq_len=16", "data.batch_size=2", "trainer.validate_every=2", "trainer.validation_batches=1"),
    *("model.dim=16", "model.n_layers=1", "model.vocab_size=300", "trainer.checkpoint_every=2", "trainer.n_threads=1"),
)


def command(arguments, monkeypatch, capsys):
    """scripts/train.py in this process: its exit code and the lines on stderr that name an error."""
    monkeypatch.setattr(sys, "argv", ["scripts/train.py", *arguments])
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(PROJECT_ROOT / "scripts" / "train.py"), run_name="__main__")
    torch.set_num_threads(threads)
    return stop.value.code, [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]


def fingerprints(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and ".hydra" not in path.parts]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_text_that_changed_since_is_refused_and_the_run_stays_as_it_was(tmp_path, monkeypatch, capsys):
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(60):
        (texts / f"m{number}.py").write_text(f"value_{number} = {number}\n" * 20)
    words = [*SMALL, f"data.corpus.folder={texts}", f"paths.logs={tmp_path}", f"paths.cache={tmp_path / 'cache'}"]
    assert command([*words, "trainer.max_steps=2"], monkeypatch, capsys) == (0, [])
    (run,) = (tmp_path / "pretrain" / "runs").iterdir()
    before = fingerprints(run)
    assert {"DONE", "tokenizer.json", "metrics.jsonl", "summary.json"} <= set(before)
    (texts / "m1.py").write_text("another = text\n" * 90)
    code, lines = command([f"resume={run}", "trainer.max_steps=4"], monkeypatch, capsys)
    assert code == 2
    assert len(lines) == 1
    assert "its data is" in lines[0]
    assert fingerprints(run) == before


@pytest.mark.parametrize("name", ["[exp] it's, a=b", '[/x] {c} "(d)" :warning: $HOME'])
def test_a_run_whose_folder_has_an_odd_name_is_shown_and_goes_on_by_the_line_it_prints(
    tmp_path, monkeypatch, capsys, name
):
    run = tmp_path / name
    words = [*SMALL, "trainer.max_steps=4", override("hydra.run.dir", run), f"paths.cache={tmp_path / 'cache'}"]
    text = tmp_path / "texts"
    text.mkdir()
    for number in range(60):
        (text / f"m{number}.py").write_text(f"value_{number} = {number}\n" * 20)
    words.append(f"data.corpus.folder={text}")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpointing, "_must_stop", lambda self, trainer, stage: stage.steps_done == 1)
        code, (line,) = command(words, monkeypatch, capsys)
    assert code == 1
    python, script, *typed = shlex.split(line.partition("to go on: ")[2])
    assert (python, script) == ("python", "scripts/train.py")
    assert command(typed, monkeypatch, capsys) == (0, [])
    assert (run / "DONE").exists()


def test_a_run_that_holds_nothing_out_ends_and_says_what_is_missing(tmp_path, monkeypatch, capsys):
    (tmp_path / "only.txt").write_text("".join(f"line {number} of the only file\n" for number in range(200)))
    words = [*SMALL, "data=text_files", f"data.corpus.path={tmp_path / 'only.txt'}", "data.validation_share=0"]
    words += [f"paths.cache={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'run'}"]
    monkeypatch.setattr(sys, "argv", ["scripts/train.py", *words, "trainer.max_steps=2"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(PROJECT_ROOT / "scripts" / "train.py"), run_name="__main__")
    said = capsys.readouterr().err
    assert stop.value.code == 0
    assert "no validation loss" in said
    assert "the end of each is instead" in said
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (tmp_path / "run" / "DONE").exists()
    assert not [name for name in summary["metrics"] if name.startswith("val/")]
    assert summary["baselines"] == {}
    assert "train/loss" in summary["metrics"]
    (run,) = read_runs(tmp_path / "run")[0]
    assert (run.loss, run.bits_per_byte) == (None, None)
