"""Speed without the pauses, on a clock that the test turns."""

import json
import mmap
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback

from deepseek_lab.callbacks import throughput
from deepseek_lab.callbacks.throughput import Throughput, resident_bytes
from deepseek_lab.processor import Moment
from tiny_run import tiny_stage, tiny_trainer


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Turn(Callback):
    """A step takes 2 seconds, a validation 50."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.clock.now += 2

    def on_validation_batch_end(self, *_: Any) -> None:
        self.clock.now += 25

    def on_validation_end(self, *_: Any) -> None:
        self.clock.now += 7  # samples, say


def test_validation_is_left_out_and_mfu_is_flops_over_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(throughput, "time", clock)
    speed = Throughput(flops_per_token=1000.0, peak_flops=1e6)
    trainer = tiny_trainer(tmp_path, max_steps=6, validate_every=2, log_every=3, callbacks=[Turn(clock)])
    trainer.callbacks[1] = speed  # before Turn, so what Turn does at a validation's end comes after it
    trainer.fit(tiny_stage(isolate_documents=False, depth=0))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    timed = {row["step"]: row for row in rows if "perf/tokens_per_second" in row}
    assert sorted(timed) == [3, 6]  # the first row of a process holds the warm-up
    per_second = 4 * 12 / 2
    assert timed[6]["perf/tokens_per_second"] == pytest.approx(per_second)
    assert timed[6]["perf/mfu"] == pytest.approx(per_second * 1000 / 1e6)
    assert speed.seconds == pytest.approx(12)
    assert {row["step"]: row["perf/seconds"] for row in rows if "perf/seconds" in row} == pytest.approx(
        {1: 2, 3: 6, 6: 12}
    )
    again = Throughput()
    again.load_state_dict(speed.state_dict())
    assert again.seconds == speed.seconds


def test_without_a_known_peak_there_is_no_mfu(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, max_steps=4, log_every=2).fit(tiny_stage(moe=False))
    assert "perf/mfu" not in (tmp_path / "metrics.jsonl").read_text()
    assert "perf/memory_bytes" in (tmp_path / "metrics.jsonl").read_text()


def test_memory_follows_what_is_held() -> None:
    # Pages of its own: malloc may give what another test of this process has left resident.
    held = mmap.mmap(-1, 64 * 2**20)
    before = resident_bytes()
    for page in range(0, len(held), mmap.PAGESIZE):
        held[page] = 1
    assert resident_bytes() - before > 48 * 2**20


def test_what_others_took_meanwhile_is_recorded_and_kept_over_a_resume(tmp_path: Path) -> None:
    moments = iter(Moment(clock=10.0 * n, everybody=25.0 * n, ours=10.0 * n, main_thread=0.0) for n in range(99))
    speed = Throughput(look=lambda: next(moments))
    trainer = tiny_trainer(tmp_path, max_steps=4, validate_every=4, log_every=2)
    trainer.callbacks[1] = speed
    trainer.fit(tiny_stage(isolate_documents=False, depth=0))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {row["perf/other_cores"] for row in rows if "perf/other_cores" in row} == {1.5}
    assert speed.other_cores == 1.5
    again = Throughput()
    again.load_state_dict(speed.state_dict())
    assert again.other_cores == 1.5
    again.load_state_dict({"seconds": 3.0})
    assert again.other_cores is None, "a checkpoint of an older run does not say"
