"""The way from a stage to its loggers.

Every curve's step is the number of finished optimiser steps. Lightning's `self.log` is not used: it counts
batches by its own rules and hides when a value is written.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deepseek_lab import metrics


class Records:
    """The curves of one stage, which holds it. Names are checked: KeyError for one that `metrics` lacks."""

    def __init__(self, stage: Any) -> None:
        self._stage = stage
        self.latest: dict[str, float] = {}
        """The last value of every curve."""
        self._has_open_row = False

    def scalars(self, values: Mapping[str, float]) -> None:
        """Logs values of the step just finished."""
        for name in values:
            metrics.describe(name)
        self.latest.update(values)
        for logger in self._stage.loggers:
            logger.log_metrics(dict(values), step=self._stage.steps_done)
        self._has_open_row = True

    def histogram(self, name: str, heights: Sequence[float], first: int = 0) -> None:
        """Logs one bar an index, from `first` on."""
        metrics.describe(name)
        for logger in self._curve_loggers():
            logger.log_histogram(name, heights, self._stage.steps_done, first)

    def text(self, name: str, text: str) -> None:
        """Logs a text of the step just finished."""
        for logger in self._curve_loggers():
            logger.log_text(name, text, self._stage.steps_done)
        self._has_open_row = True

    def flush(self, to_disk: bool = False) -> None:
        """Closes the row of a finished step; before a checkpoint also forces it `to_disk`."""
        self._has_open_row = False
        for logger in self._stage.loggers:
            logger.save()
        for curve_logger in self._curve_loggers() if to_disk else []:
            curve_logger.sync()

    def flush_finished_row(self) -> None:
        """At the start of a step: the one before is finished, validation and all, so its row can be written."""
        if self._has_open_row:
            self.flush()

    def _curve_loggers(self) -> list[metrics.CurveLogger]:
        return [logger for logger in self._stage.loggers if isinstance(logger, metrics.CurveLogger)]
