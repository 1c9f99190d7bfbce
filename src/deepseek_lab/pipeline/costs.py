"""What a step has cost, in FLOPs: its training, and the tokens it drew to learn from.

A training token costs what `planning.counts` says (forward and backward); a drawn one a forward pass, a third of
that. Attention over a shorter or longer text than `data.seq_len` is not told apart.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepseek_lab.config import DataError
from deepseek_lab.pipeline.planned import PlannedStep

DRAWN = "sampling/tokens"


def summary_of(folder: Path) -> dict[str, Any]:
    """A run's `summary.json`; empty for a step that trains nothing. Raises DataError for a broken one."""
    path = folder / "summary.json"
    if not path.exists():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    return content


def flops_of(folder: Path) -> float:
    """Of the run in `folder`; 0 for a step that trains nothing."""
    summary = summary_of(folder)
    if not summary:
        return 0.0
    drawn = float(summary["metrics"].get(DRAWN, 0.0))
    return float(summary["counts"]["flops_per_token"]) * (float(summary["tokens"]) + drawn / 3)


def steps_for_equal_flops(step: PlannedStep, tokens_a_step: int, flops_per_token: float) -> int:
    """How many optimiser steps cost what the steps named by `equal_flops` have cost, one at least."""
    spent = sum(flops_of(needed.folder) for needed in step.needs if needed.name in step.step.equal_flops)
    return max(1, math.floor(spent / (tokens_a_step * flops_per_token)))


def total_flops(steps: Sequence[PlannedStep]) -> float:
    """Of several steps together."""
    return sum(flops_of(step.folder) for step in steps)
