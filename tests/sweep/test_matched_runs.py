"""A matched run and a matched sweep from the command line: the solved width stands in all that they leave."""

import json
import runpy
import sys

import pytest
import torch
import yaml

from deepseek_lab.command_line import PROJECT_ROOT

TINY = (
    *("data.seq_len=16", "data.batch_size=2", "tokenizer=bytes", "model.vocab_size=300", "trainer.n_threads=1"),
    *("trainer.max_steps=1", "trainer.validation_batches=1"),
)


def command(arguments, monkeypatch):
    """scripts/train.py in this process -> its exit code."""
    monkeypatch.setattr(sys, "argv", ["scripts/train.py", *arguments])
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(PROJECT_ROOT / "scripts" / "train.py"), run_name="__main__")
    torch.set_num_threads(threads)
    return stop.value.code


def test_the_width_stands_in_everything_that_a_run_leaves(tmp_path, monkeypatch):
    """A sweep in one process, and one of its jobs alone: overrides, config, summary; and resume takes it from there."""
    (tmp_path / "text").mkdir()
    for number in range(40):
        (tmp_path / "text" / f"m{number}.py").write_text(f"value_{number} = {number}\n" * 20)
    words = [*TINY, f"data.corpus.folder={tmp_path / 'text'}", f"paths.logs={tmp_path}", f"paths.cache={tmp_path}/c"]
    sweep = ["-m", "hydra/launcher=basic", "sweep_report=false", "attention=mha,mla", "match=params", "sweep=s", *words]
    assert command(sweep, monkeypatch) == 0
    runs = {path.name.rpartition("-")[0]: path for path in (tmp_path / "pretrain" / "multiruns" / "s").glob("*-*")}
    mla = next(path for name, path in runs.items() if name.startswith("attention-mla"))
    config = yaml.safe_load((mla / ".hydra" / "config.yaml").read_text())
    summary = json.loads((mla / "summary.json").read_text())
    assert config["model"]["intermediate_size"] == 196
    assert summary["match"]["width"] == "model.intermediate_size"
    assert summary["match"]["value"] == 196
    assert not any("intermediate_size" in line or "target" in line for line in summary["overrides"])
    assert "attention=mla" in summary["overrides"]
    assert abs(summary["match"]["residual"]) <= 0.01
    assert summary["match"]["reached"] == summary["counts"]["total_params"] - 2 * 300 * 64
    assert command(["attention=mla", "match=params", *words], monkeypatch) == 0
    (alone,) = (tmp_path / "pretrain" / "runs").iterdir()
    assert "model.intermediate_size=196" in yaml.safe_load((alone / ".hydra/overrides.yaml").read_text())
    assert json.loads((alone / "summary.json").read_text())["match"] == summary["match"]
    assert command([f"resume={alone}", "trainer.max_steps=2"], monkeypatch) == 0
    assert json.loads((alone / "summary.json").read_text())["steps"] == 2
