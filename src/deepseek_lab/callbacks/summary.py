"""`summary.json`, what a report needs of a finished run, and `DONE`, the mark that it is one.

The summary is written after the last checkpoint and from values that stand in it, so a run that was
killed in between writes the same when it is resumed. `DONE` comes last of all, by rename.

A run in which a clock decided a verdict is marked `reproducible: false`: the same again may come out otherwise.
"""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from deepseek_lab.callbacks.throughput import Throughput
from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.trainer_plugins.json_lines import read_rows


def mark_done(run_folder: Path) -> None:
    """The last thing a run does."""
    write_text_atomically(run_folder / "DONE", "")


class Summary(Callback):
    """Writes `<run>/summary.json` when the last step is done; `facts` (parameters, config …) are added to it."""

    def __init__(self, run_folder: Path, facts: Mapping[str, Any]) -> None:
        self.run_folder = run_folder
        self.facts = dict(facts)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Also after a resume that found nothing left to train."""
        if not trainer.is_global_zero or not pl_module.is_last_step:
            return
        pl_module.records.flush()
        content = {
            **self.facts,
            "steps": pl_module.steps_done,
            "tokens": int(pl_module.tokens_seen),
            "seconds": self._of_clock(trainer, "seconds"),
            "other_cores": self._of_clock(trainer, "other_cores"),
            "tokens_per_second": self._median_speed(),
            **({"reproducible": False} if pl_module.records.latest.get("sampling/timeouts") else {}),
            "metrics": dict(sorted(pl_module.records.latest.items())),
        }
        write_text_atomically(self.run_folder / "summary.json", json.dumps(content, indent=2, default=str) + "\n")

    def _of_clock(self, trainer: Any, name: str) -> float | None:
        found = (getattr(callback, name) for callback in trainer.callbacks if isinstance(callback, Throughput))
        return next(found, None)

    def _median_speed(self) -> float | None:
        rows = read_rows(self.run_folder / "metrics.jsonl")
        speeds = [row["perf/tokens_per_second"] for row in rows if "perf/tokens_per_second" in row]
        return statistics.median(speeds) if speeds else None
