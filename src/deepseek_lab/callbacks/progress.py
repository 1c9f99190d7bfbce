"""One line that says where a run stands: a bar on a terminal, a plain line every tenth otherwise."""

import time
from typing import Any

from lightning.pytorch import Callback, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SHOWN = (
    ("train/loss", "loss {:.4f}"),
    ("reward", "reward {:.3f}"),
    ("val/bits_per_byte", "val {:.3f} bits/byte"),
    ("perf/tokens_per_second", "{:,.0f} tokens/s"),
)


def status(latest: dict[str, float]) -> str:
    """The latest values worth a glance, those that exist yet."""
    return "  ".join(form.format(latest[name]) for name, form in _SHOWN if name in latest)


class ProgressLine(Callback):
    """A rich bar on a terminal; otherwise about ten plain lines a run."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(markup=False, emoji=False)
        self._bar: Progress | None = None
        self._task: Any = None
        self._tenth = -1

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Opens the bar on rank 0."""
        self._started, self._first_step = time.monotonic(), pl_module.steps_done
        if not trainer.is_global_zero or not self.console.is_terminal:
            return
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
        )
        self._bar = Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=self.console)
        self._task = self._bar.add_task("", total=trainer.max_steps, completed=pl_module.steps_done)
        self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=pl_module.steps_done, description=status(pl_module.records.latest))
        elif trainer.is_global_zero:
            self._print_tenth(pl_module.steps_done, trainer.max_steps, pl_module.records.latest)

    def _print_tenth(self, step: int, max_steps: int, latest: dict[str, float]) -> None:
        tenth = 10 * step // max_steps
        if tenth == self._tenth:
            return
        self._tenth = tenth
        left = (time.monotonic() - self._started) / max(step - self._first_step, 1) * (max_steps - step)
        self.console.print(f"step {step}/{max_steps}  {status(latest)}  {left:.0f} s left", highlight=False)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Closes the bar."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Closes the bar, so that the error stands on its own line."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
