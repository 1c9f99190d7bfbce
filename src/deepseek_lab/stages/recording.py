"""The position of a run in steps, and the way from a stage to its loggers.

Every curve's step is the number of finished optimiser steps. Lightning's `self.log` is not used: it counts
batches by its own rules and hides when a value is written.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import LightningModule

from deepseek_lab import metrics


class Recording(LightningModule):
    """Where a run stands, what is due at that step, and `record`."""

    def __init__(self) -> None:
        super().__init__()
        self.steps_done = 0
        self.latest: dict[str, float] = {}
        """The last value of every curve."""
        self._has_open_row = False

    @property
    def is_last_step(self) -> bool:
        """Whether the run's last step is done."""
        return self.steps_done >= self.trainer.max_steps

    @property
    def log_due(self) -> bool:
        """Whether the step just finished is one that curves have a point at."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return self.steps_done == 1 or self.steps_done % every == 0 or self.is_last_step

    @property
    def validation_due(self) -> bool:
        """Whether a validation follows the step just finished; the last step always has one."""
        every: Any = self.trainer.val_check_interval
        return self.trainer.enable_validation and (self.steps_done % every == 0 or self.is_last_step)

    def record(self, values: Mapping[str, float]) -> None:
        """Logs values of the step just finished. Raises KeyError for a name that metrics.py lacks."""
        for name in values:
            metrics.describe(name)
        self.latest.update(values)
        for logger in self.loggers:
            logger.log_metrics(dict(values), step=self.steps_done)
        self._has_open_row = True

    def record_histogram(self, name: str, heights: Sequence[float], first: int = 0) -> None:
        """Logs one bar an index, from `first` on. Raises KeyError for a name that metrics.py lacks."""
        metrics.describe(name)
        for logger in self._curve_loggers():
            logger.log_histogram(name, heights, self.steps_done, first)

    def record_text(self, name: str, text: str) -> None:
        """Logs a text of the step just finished."""
        for logger in self._curve_loggers():
            logger.log_text(name, text, self.steps_done)
        self._has_open_row = True

    def flush_loggers(self, to_disk: bool = False) -> None:
        """Closes the row of a finished step; before a checkpoint also forces it `to_disk`."""
        self._has_open_row = False
        for logger in self.loggers:
            logger.save()
        for curve_logger in self._curve_loggers() if to_disk else []:
            curve_logger.sync()

    def _curve_loggers(self) -> list[metrics.CurveLogger]:
        return [logger for logger in self.loggers if isinstance(logger, metrics.CurveLogger)]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """The step before is finished, validation and all: its row can be written."""
        if self._has_open_row:
            self.flush_loggers()
