"""Curves as JSON lines: `metrics.jsonl`, one object a step, `samples.jsonl` with the texts, and the loads of experts.

A row stays open until something of a later step arrives or `save` is called, so that training and
validation values of one step share it. A run that goes on from step s drops what stands behind s before
it writes its first row; a last line cut off by a kill goes the same way. The report reads these files
and needs no event file.

`expert_load.jsonl` has a row a validation, of the last histograms before it: a row of 256 experts and 60 layers
at every logged step would dwarf the curves.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.disk import naming


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file (none when it is missing); a line cut off at the end is left out."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]


class JsonLines:
    """One file of rows that each carry `step`."""

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        """`resume_step` None starts the file anew; s keeps the rows up to and with step s."""
        self.path = path
        self._last_step = resume_step
        self._opened = False
        self._row: dict[str, Any] = {}

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds values to the row of `step`; the row of an earlier step is written out."""
        if self._row and self._row["step"] != step:
            self.write()
        self._row = {"step": step, **self._row, **values}

    def write(self) -> None:
        """Writes the open row, if there is one. Raises OSError."""
        if not self._row:
            return
        self._open()
        row, self._row = self._row, {}
        with naming(self.path), self.path.open("a") as file:
            size = file.tell()
            try:
                file.write(json.dumps(row, allow_nan=False) + "\n")
                file.flush()
            except OSError:
                os.truncate(self.path, size)  # no half of a row in front of later ones
                raise

    def sync(self) -> None:
        """Writes the open row and forces the file to disk."""
        self.write()
        if self.path.exists():
            with naming(self.path), self.path.open("a") as file:
                os.fsync(file.fileno())

    def _open(self) -> None:
        """Before the first row: drops the rows that this run is about to write again."""
        if self._opened:
            return
        kept = [] if self._last_step is None else [r for r in read_rows(self.path) if r["step"] <= self._last_step]
        write_text_atomically(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._opened = True


class JsonLinesLogger(Logger):
    """Lightning's side of the three files."""

    def __init__(self, run_folder: Path, resume_step: int | None = None) -> None:
        super().__init__()
        self.metrics = JsonLines(run_folder / "metrics.jsonl", resume_step)
        self.samples = JsonLines(run_folder / "samples.jsonl", resume_step)
        self.loads = JsonLines(run_folder / "expert_load.jsonl", resume_step)
        self._heights: tuple[int, dict[str, list[float]]] = (0, {})

    @property
    def name(self) -> str:
        """Lightning's name of the logger."""
        return "json_lines"

    @property
    def version(self) -> str:
        """Lightning's version of the logger: none."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Adds to the row of `step`; what is not a finite number becomes null."""
        self.metrics.add(int(step or 0), {k: v if math.isfinite(v) else None for k, v in metrics.items()})
        if "val/loss" in metrics and self._heights[1]:
            self.loads.add(*self._heights)

    @rank_zero_only
    def log_text(self, name: str, text: str, step: int) -> None:
        """Adds to `samples.jsonl`."""
        self.samples.add(step, {name: text})

    @rank_zero_only
    def log_histogram(self, name: str, heights: Sequence[float], step: int, first: int = 0) -> None:
        """Loads of experts are kept until a validation asks for their row; five digits are plenty for a share.

        Other histograms are left to TensorBoard.
        """
        if name.startswith("moe/"):
            earlier = self._heights[1] if self._heights[0] == step else {}
            self._heights = step, {**earlier, name: [round(height, 5) for height in heights]}

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Left to TensorBoard and to the run folder's config."""

    @rank_zero_only
    def save(self) -> None:
        """Writes the open rows."""
        for file in (self.metrics, self.samples, self.loads):
            file.write()

    @rank_zero_only
    def sync(self) -> None:
        """Forces the files to disk: no row before a checkpoint may be lost with the power."""
        for file in (self.metrics, self.samples, self.loads):
            file.sync()

    def finalize(self, status: str) -> None:
        """The run is over, well or not."""
        self.save()
