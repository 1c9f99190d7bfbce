"""A refused resume changes nothing in the run's folder, whatever it is refused for."""

import hashlib
import runpy
import sys

import pytest
import torch

from deepseek_lab.command_line import PROJECT_ROOT

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
