"""The summary of a finished run, and only of one."""

import json
from pathlib import Path

from deepseek_lab.callbacks.summary import Summary, mark_done
from deepseek_lab.checkpoint.located import latest_checkpoint
from tiny_run import rows, tiny_stage, tiny_trainer


def test_a_finished_run_is_summed_up(tmp_path: Path) -> None:
    summary = Summary(tmp_path, {"parameters": 1234})
    stage = tiny_stage()
    tiny_trainer(tmp_path, max_steps=8, callbacks=[summary]).fit(stage)
    content = json.loads((tmp_path / "summary.json").read_text())
    last = rows(tmp_path)[-1]
    assert content["parameters"] == 1234
    assert content["steps"] == 8
    assert content["tokens"] == last["train/tokens"]
    assert content["metrics"]["val/loss"] == last["val/loss"]
    assert content["tokens_per_second"] > 0
    assert "reproducible" not in content, "no clock decided anything"


def test_a_run_killed_between_its_last_checkpoint_and_its_summary_gets_one_on_resume(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, max_steps=8).fit(tiny_stage())
    summary = Summary(tmp_path, {})
    trainer = tiny_trainer(tmp_path, max_steps=8, resume_step=8, callbacks=[summary])
    trainer.fit(tiny_stage(), ckpt_path=latest_checkpoint(tmp_path))
    content = json.loads((tmp_path / "summary.json").read_text())
    assert content["metrics"]["val/loss"] == rows(tmp_path)[-1]["val/loss"]
    assert content["seconds"] > 0


def test_done_is_a_mark(tmp_path: Path) -> None:
    mark_done(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["DONE"]
