"""`debug=profile`: it records whole steps after the warm-up, in every stage, and what it prints adds up."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from rich.console import Console

from deepseek_lab.callbacks.profile import TRACE, Cost, Profile, cost_table
from tiny_policy import policy_stage
from tiny_run import tiny_stage, tiny_trainer


def console() -> Console:
    return Console(file=io.StringIO(), width=100)


def profiled(folder: Path, stage: Any, max_steps: int = 6, **knobs: Any) -> tuple[list[dict[str, Any]], str]:
    """The trace's events and what was printed."""
    said = console()
    recorder = Profile(folder, **{"warmup": 2, "steps": 3, "rows": 10, **knobs}, console=said)
    tiny_trainer(folder, max_steps=max_steps, validate_every=100, callbacks=[recorder]).fit(stage)
    path = folder / TRACE
    events = json.loads(path.read_text())["traceEvents"] if path.exists() else []
    return events, said.file.getvalue()


def named(events: list[dict[str, Any]], word: str) -> int:
    return sum(word in str(event.get("name")) for event in events)


@pytest.mark.parametrize(("warmup", "recorded"), [(0, 3), (2, 3), (4, 2)])
def test_the_steps_after_the_warm_up_are_recorded_and_no_others(tmp_path: Path, warmup: int, recorded: int) -> None:
    events, said = profiled(tmp_path, tiny_stage(), warmup=warmup, rows=500)
    assert named(events, "Optimizer.step#AdamW.step") == recorded
    assert f"{recorded} steps of " in said
    assert "aten::mm" in said


def test_an_on_policy_step_is_recorded_with_its_sampling(tmp_path: Path) -> None:
    events, said = profiled(tmp_path, policy_stage(), max_steps=3, warmup=1, steps=1)
    assert named(events, "Optimizer.step#AdamW.step") == 1
    assert named(events, "aten::argmax") + named(events, "aten::multinomial") + named(events, "aten::sort") > 0
    assert "1 steps of " in said


def test_a_run_within_its_warm_up_says_so(tmp_path: Path) -> None:
    events, said = profiled(tmp_path, tiny_stage(), max_steps=2)
    assert not events
    assert "nothing was profiled" in said


def test_shares_are_of_the_wall_time_and_the_caption_has_the_rest() -> None:
    found = [Cost("matmul", 8, 0.4), Cost("add", 40, 0.2), Cost("copy", 4, 0.1), Cost("fill", 2, 0.1)]
    said = console()
    said.print(cost_table(found, n_steps=4, wall_seconds=1.0, n_rows=2))
    lines = [line.split() for line in said.file.getvalue().splitlines()]
    assert ["matmul", "2.0", "100.00", "40.0%"] in lines
    assert ["add", "10.0", "50.00", "20.0%"] in lines
    text = " ".join(word for line in lines for word in line)
    assert "20% in 2 other operations, 20% outside" in text
    assert "copy" not in text


class Fails(Callback):
    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 4:
            raise RuntimeError("enough")


def test_a_failed_run_leaves_no_trace(tmp_path: Path) -> None:
    recorder = Profile(tmp_path, warmup=1, steps=5, rows=10, console=console())
    with pytest.raises(RuntimeError, match="enough"):
        tiny_trainer(tmp_path, max_steps=9, callbacks=[recorder, Fails()]).fit(tiny_stage())
    assert not (tmp_path / TRACE).exists()


def test_the_trace_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Any, target: Any) -> None:
        target.write(source.read(100))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    recorder = Profile(tmp_path, warmup=0, steps=1, rows=10, console=console())
    with pytest.raises(OSError, match=r"trace\.json: could not be written"):
        tiny_trainer(tmp_path, max_steps=1, callbacks=[recorder], validate_every=100).fit(tiny_stage())
    assert not list(tmp_path.glob("trace*"))
