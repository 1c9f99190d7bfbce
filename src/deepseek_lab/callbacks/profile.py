"""Where the time of a step goes: a trace for a viewer, and the costliest operations as a table (`debug=profile`).

A few steps run first and are not recorded: the first ones allocate, load and choose kernels. Then every operation of
some whole steps is, from the end of one step to the end of another, so that data, logging and an on-policy stage's
sampling are in it. `trace.json` in the run's folder opens in https://ui.perfetto.dev and in chrome://tracing.

On a GPU the table is of its kernels; elsewhere of torch's operations. Time outside both is Python, or waiting. Left
out: Python's own stack, which would double the time, ranks beyond the first, and memory (`benchmark.py memory`).
"""

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from deepseek_lab.checkpoint.atomic import write_atomically

TRACE = "trace.json"
_SILENT = "99"
"""Beyond every level that the profiler's library writes lines of its own about."""


@dataclass(frozen=True)
class Cost:
    """What one operation took over all recorded steps; `seconds` without the operations that it called."""

    name: str
    calls: int
    seconds: float


def costs(profiler: profile) -> list[Cost]:
    """Every operation that took time, the costliest first; kernels where a GPU worked, else operations of the CPU."""
    events: Sequence[Any] = profiler.key_averages()
    on_gpu = [e for e in events if e.device_type == DeviceType.CUDA and not e.is_user_annotation]
    if on_gpu:
        found = [Cost(event.key, event.count, event.self_device_time_total / 1e6) for event in on_gpu]
    else:
        found = [Cost(event.key, event.count, event.self_cpu_time_total / 1e6) for event in events]
    return sorted((cost for cost in found if cost.seconds > 0), key=lambda cost: -cost.seconds)


def cost_table(found: Sequence[Cost], n_steps: int, wall_seconds: float, n_rows: int) -> Table:
    """The `n_rows` costliest operations of a step; shares are of the wall time, which the caption accounts for."""
    made = Table(title="Where a step's time goes", title_justify="left", box=SIMPLE_HEAD)
    made.add_column("operation", max_width=48, no_wrap=True)
    for column in ("calls\na step", "self ms\na step", "share"):
        made.add_column(column, justify="right", no_wrap=True, min_width=5)
    for cost in found[:n_rows]:
        share = f"{cost.seconds / wall_seconds:.1%}"
        made.add_row(cost.name, f"{cost.calls / n_steps:,.1f}", f"{cost.seconds / n_steps * 1e3:,.2f}", share)
    made.caption = f"{n_steps} steps of {wall_seconds / n_steps * 1e3:,.1f} ms, recording included: " + _rest(
        found, wall_seconds, n_rows
    )
    made.caption_justify = "left"
    return made


def _rest(found: Sequence[Cost], wall_seconds: float, n_rows: int) -> str:
    """What the table does not show."""
    others = sum(cost.seconds for cost in found[n_rows:]) / wall_seconds
    outside = max(0.0, 1 - sum(cost.seconds for cost in found) / wall_seconds)
    n_others = max(len(found) - n_rows, 0)
    return f"{others:.0%} in {n_others} other operations, {outside:.0%} outside of all (Python, waiting)"


class Profile(Callback):
    """Records `steps` batches after the first `warmup`, on rank 0, then writes the trace and prints the table."""

    def __init__(self, folder: Path, warmup: int, steps: int, rows: int, console: Console) -> None:
        self.path = folder / TRACE
        self.warmup, self.steps, self.rows = warmup, steps, rows
        self.console = console
        self._batches = 0
        self._profiler: profile | None = None
        self._began = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Without warm-up the first step is recorded."""
        self._batches = 0
        self._begin_if_due(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Begins after the warm-up, ends after the last recorded step."""
        self._batches += 1
        if self._batches == self.warmup + self.steps:
            self._finish()
        self._begin_if_due(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """A run that ends early has what was recorded until then."""
        self._finish()
        if trainer.is_global_zero and self._batches <= self.warmup:
            self.console.print(f"nothing was profiled: {self._batches} steps, of which {self.warmup} are warm-up")

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Nothing is written of a run that fails."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None

    def _begin_if_due(self, trainer: Trainer) -> None:
        if self._batches != self.warmup or not trainer.is_global_zero:
            return
        os.environ.setdefault("KINETO_LOG_LEVEL", _SILENT)
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self._profiler = profile(activities=activities)
        self._profiler.start()
        self._began = _now()

    def _finish(self) -> None:
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            return
        seconds = _now() - self._began
        profiler.stop()
        n_steps = min(self._batches - self.warmup, self.steps)
        if n_steps > 0:
            self._write(profiler)
            self.console.print(cost_table(costs(profiler), n_steps, seconds, self.rows))
            self.console.print(f"trace: {self.path}, for https://ui.perfetto.dev", highlight=False, soft_wrap=True)

    def _write(self, profiler: profile) -> None:
        """Torch writes to a name and says nothing when the disk is full: what it wrote is copied, whole or not."""
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / TRACE
            profiler.export_chrome_trace(str(written))
            with written.open("rb") as source:
                write_atomically(self.path, lambda target: shutil.copyfileobj(source, target))


def _now() -> float:
    """The clock once a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
