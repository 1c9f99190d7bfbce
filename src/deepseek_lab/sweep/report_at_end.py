"""Writes and prints the report of a sweep when its jobs have ended, those that failed included.

Hydra calls it in the process of the sweep, after any launcher (`hydra.callbacks` in train.yaml); a sweep that was
stopped has none. It is imported by every job's process too, so nothing heavy is imported here.
"""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from deepseek_lab.command_line.errors import describe
from deepseek_lab.command_line.outcome import say


class ReportAtEnd(Callback):
    """`sweep_report=false` leaves it out."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Where the sweep cannot be reported (no run left anything), one line says so and the sweep stands."""
        if not config.sweep_report:
            return
        from deepseek_lab.report import write_report

        try:
            write_report(Path(str(config.hydra.sweep.dir)))
        except Exception as error:
            described = describe(error)
            if described is None:
                raise
            say(f"no report of this sweep: {described[0]}", "warning")
