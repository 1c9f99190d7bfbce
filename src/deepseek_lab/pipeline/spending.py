"""The checkpoint of a step at which it had cost as much as a test allows: ways to learn, seen at an equal cost.

What counts is the step's own cost and that of the steps whose folders stand in its overrides (pairs drawn before), not
that of the step it starts from, which all rivals share. `tokens` are those drawn to learn from, `flops` those of
`pipeline.costs`. `spent.json` beside the result says what the checkpoint had cost: a step that never costs as much is
measured at its end, and one that spends all before its first step (pairs) too.

Left out: a policy between two checkpoints.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_lab.advice import quoted
from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.checkpoint.located import checkpoints_in
from deepseek_lab.config import DataError
from deepseek_lab.pipeline.costs import DRAWN, drawn_by, flops_of, training_flops
from deepseek_lab.pipeline.planned import PlannedStep

FILE = "spent.json"
TRAINED = "train/tokens"


@dataclass(frozen=True, kw_only=True)
class Spent:
    """A checkpoint, after how many steps it was written, and what had been spent by then."""

    path: Path
    step: int
    tokens: float
    flops: float


def chosen_checkpoint(test: PlannedStep) -> list[str]:
    """The override of a test with a budget, noted in its folder. Raises DataError where the step kept nothing."""
    (step,) = test.needs
    assert test.budget is not None
    kind, most = test.budget
    found = list(_spent(step))
    if not found:
        raise DataError(f"{step.folder}: holds no checkpoint to measure {test.key} at")
    least = min(getattr(one, kind) for one in found)
    one = [one for one in found if getattr(one, kind) <= max(most, least)][-1]
    test.folder.mkdir(parents=True, exist_ok=True)
    content = {"step": one.step, "tokens": one.tokens, "flops": one.flops}
    write_text_atomically(test.folder / FILE, json.dumps(content) + "\n")
    return [f"checkpoint={quoted(one.path)}"]


def _spent(step: PlannedStep) -> Iterator[Spent]:
    """Of every checkpoint that was kept, in order."""
    ahead = [needed for needed in step.needs if needed.name in step.step.named]
    tokens, flops = sum(map(drawn_by, ahead)), sum(map(flops_of, ahead))
    rows = _rows(step.folder)
    for path in checkpoints_in(step.folder / "checkpoints"):
        number = int(re.findall(r"\d+", path.stem)[-1])
        trained, drawn = (_latest(rows, name, number) for name in (TRAINED, DRAWN))
        own = training_flops(step, trained, drawn)
        yield Spent(path=path, step=number, tokens=tokens + drawn, flops=flops + own)


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _latest(rows: list[dict[str, Any]], name: str, step: int) -> float:
    """The value of a sum at a step; 0 before the first."""
    return max((float(row[name]) for row in rows if row["step"] <= step and row.get(name) is not None), default=0.0)
