"""The table of every curve: its name, its unit, what it is divided by and what it means.

A stage and a callback may record only names that stand here, so two runs can be compared and a
spelling exists once. A name in braces stands for a number (`train/loss_mtp_{depth}`); `{source}`,
`{operand}`, `{task}` and `{part}` for a word.

Left out: how a curve is computed (stages/, callbacks/) and where it goes (trainer_plugins/).
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from deepseek_lab.config import nearest
from deepseek_lab.metrics.curve import Curve as Curve
from deepseek_lab.metrics.on_policy import ON_POLICY
from deepseek_lab.metrics.training import TRAINING

CURVES: tuple[Curve, ...] = (*TRAINING, *ON_POLICY)


@functools.cache
def _pattern(name: str) -> re.Pattern[str]:
    words = re.sub(r"\\\{(source|operand|task|part)\\\}", "[a-z][a-z0-9_]*", re.escape(name))
    return re.compile(re.sub(r"\\\{\w+\\\}", r"\\d+", words))


@functools.cache
def describe(name: str) -> Curve:
    """The row of the table for `name` (`train/loss_mtp_2` finds `train/loss_mtp_{depth}`).

    Raises KeyError with the nearest name when the table has no such row.
    """
    for curve in CURVES:
        if _pattern(curve.name).fullmatch(name):
            return curve
    raise KeyError(f"no curve '{name}' in metrics.py{nearest(name, [c.name for c in CURVES])}")


@runtime_checkable
class CurveLogger(Protocol):
    """What a stage asks of a logger beyond Lightning's `log_metrics(values, step)` and `save()`."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Values of one step; several calls of one step add up to one row."""

    def log_histogram(self, name: str, heights: Sequence[float], step: int, first: int = 0) -> None:
        """One bar an index, from `first` on."""

    def log_text(self, name: str, text: str, step: int) -> None:
        """A text of this step."""

    def sync(self) -> None:
        """Everything logged so far reaches the disk."""
