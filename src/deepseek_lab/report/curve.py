"""The validations of a run as a curve: bits per byte against steps, tokens and seconds.

Seconds are those of training (`perf/seconds`), without validation and checkpoints; a validation between two rows
that carry them lies in between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepseek_lab.config import DataError
from deepseek_lab.report.run_files import finite, json_rows, whole_text


@dataclass(frozen=True, kw_only=True)
class Point:
    """One validation: after how many steps, training tokens and seconds, with which bits per byte.

    seconds: None in a run that did not record them
    """

    step: int
    tokens: float
    seconds: float | None
    bits_per_byte: float


def read_curve(path: Path, tokens_per_step: float) -> tuple[Point, ...]:
    """The validations in a metrics file; values that were not finite are left out. Raises DataError.

    tokens_per_step: what stands in for `train/tokens` in a row that lacks it.
    """
    rows = json_rows(path, whole_text(path))
    timed = [(n, row, finite(row.get("perf/seconds"))) for n, row in enumerate(rows, start=1)]
    clock = [(_step(path, n, row), seconds) for n, row, seconds in timed if seconds is not None]
    points = []
    for number, row in enumerate(rows, start=1):
        value = finite(row.get("val/bits_per_byte"))
        if value is None:
            continue
        step = _step(path, number, row)
        tokens = finite(row.get("train/tokens"))
        tokens = step * tokens_per_step if tokens is None else tokens
        points.append(Point(step=step, tokens=tokens, seconds=_seconds(clock, step), bits_per_byte=value))
    return tuple(points)


def _step(path: Path, number: int, row: Mapping[str, Any]) -> int:
    step = row.get("step")
    if not isinstance(step, int):
        raise DataError(f"{path} line {number}: has no 'step'")
    return step


def _seconds(clock: Sequence[tuple[int, float]], step: int) -> float | None:
    """The seconds after `step`, between the rows around it."""
    if not clock:
        return None
    steps, seconds = zip(*clock, strict=True)
    return float(np.interp(step, steps, seconds))
