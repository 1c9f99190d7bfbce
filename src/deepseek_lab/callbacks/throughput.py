"""Speed and memory: tokens a second, MFU, bytes, and how busy other programs kept the processor meanwhile.

The clock is wall time since the last row, data included, less the seconds a stage spent on validation
and checkpoints. The first row of a process has no speed: it holds the warm-up. The FLOPs of a token and
the peak of the hardware come from outside (planning/, hardware/).
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from deepseek_lab.processor import Moment, now, others
from deepseek_lab.stages.loop.stage import Stage


def resident_bytes() -> int:
    """Memory this process holds now; its peak where /proc is missing (macOS)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


class Throughput(Callback):
    """Records `perf/*`, and keeps the seconds spent on training over all resumes in `seconds`."""

    def __init__(
        self,
        flops_per_token: float | None = None,
        peak_flops: float | None = None,
        look: Callable[[], Moment] = now,
    ) -> None:
        """`peak_flops`: FLOP/s of one device; None (unknown hardware) records no MFU. `look`: reads the clocks."""
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops
        self.seconds = 0.0
        self._look = look
        self._seen: Moment | None = None
        self._watched_seconds = self._other_core_seconds = 0.0
        self._mark: tuple[float, int] | None = None
        self._validation_began: tuple[float, float] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Starts the clock."""
        self._mark = None
        self._running_since = self._now(pl_module)
        self._seen = self._look() if trainer.world_size == 1 else None  # ranks would take each other for others

    @property
    def other_cores(self) -> float | None:
        """Cores that other programs kept busy, on average over the run; None where nobody counts."""
        return self._other_core_seconds / self._watched_seconds if self._watched_seconds else None

    @staticmethod
    def _now(stage: Stage) -> float:
        return time.monotonic() - stage.paused_seconds

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """At a logged step: the speed since the last one."""
        self._count_seconds(pl_module)
        if not pl_module.log_due:
            return
        pl_module.records.scalars({"perf/seconds": self.seconds, **self._beside()})
        now, tokens = self._now(pl_module), int(pl_module.records.latest["train/tokens"])
        if self._mark is not None and now > self._mark[0]:
            self._record(pl_module, (tokens - self._mark[1]) / (now - self._mark[0]), trainer.world_size)
        self._mark = (now, tokens)

    def _beside(self) -> dict[str, float]:
        """What others took of the processor since the last row."""
        since, self._seen = self._seen, self._look() if self._seen is not None else None
        theirs = others(since, self._seen) if since is not None and self._seen is not None else None
        if theirs is None or since is None or self._seen is None:
            return {}
        self._watched_seconds += self._seen.clock - since.clock
        self._other_core_seconds += theirs * (self._seen.clock - since.clock)
        return {"perf/other_cores": theirs}

    def _record(self, stage: Stage, speed: float, n_devices: int) -> None:
        cuda = stage.device.type == "cuda"
        memory = torch.cuda.max_memory_allocated(stage.device) if cuda else resident_bytes()
        values = {"perf/tokens_per_second": speed, "perf/memory_bytes": float(memory)}
        if self.flops_per_token and self.peak_flops:
            values["perf/mfu"] = speed * self.flops_per_token / (self.peak_flops * n_devices)
        stage.records.scalars(values)

    def _count_seconds(self, stage: Stage) -> None:
        now = self._now(stage)
        self.seconds += now - self._running_since
        self._running_since = now

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Stops the clock."""
        self._validation_began = (time.monotonic(), pl_module.paused_seconds)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Goes on with it: all since the validation began was a pause, samples and a checkpoint included."""
        if self._validation_began is not None:
            began, paused = self._validation_began
            pl_module.paused_seconds = paused + time.monotonic() - began
            self._validation_began = None

    def state_dict(self) -> dict[str, Any]:
        """The seconds so far."""
        beside = {"watched_seconds": self._watched_seconds, "other_core_seconds": self._other_core_seconds}
        return {"seconds": self.seconds, **beside}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from them."""
        self.seconds = float(state_dict["seconds"])
        self._watched_seconds = float(state_dict.get("watched_seconds", 0.0))
        self._other_core_seconds = float(state_dict.get("other_core_seconds", 0.0))
