"""What running jobs side by side saves: a sweep of two jobs at once against the same one after the other.

Whole sweeps are timed, starts of processes included, the two ways in turn, so that a machine's drift falls on both.
One after the other, a job has all threads of the machine; at once, each has its share.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.sweep.slots import THREADS, usable_cores

STEPS = {"nano": 300, "micro": 100}
"""Optimiser steps of a job, by the model's size: about half a minute on one core."""
AT_ONCE = (1, 2)


def measure(model: str, rounds: int, report: Callable[[str], None], steps: int | None = None) -> dict[str, Any]:
    """The figures of one size: plain numbers, ready for json. Raises RuntimeError when a sweep fails."""
    steps = steps or STEPS[model]
    seconds: dict[int, list[float]] = {number: [] for number in AT_ONCE}
    with tempfile.TemporaryDirectory() as folder:
        _seconds(model, 1, 2, Path(folder))  # encodes the text where it is not yet, so that nobody is timed for it
        for number in range(rounds):
            for at_once in AT_ONCE if number % 2 else reversed(AT_ONCE):
                seconds[at_once].append(_seconds(model, steps, at_once, Path(folder)))
            report(
                f"round {number + 1}/{rounds}: " + ", ".join(f"{n} at once {s[-1]:.1f} s" for n, s in seconds.items())
            )
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    return {
        "model": model,
        "steps": steps,
        "cores": usable_cores(),
        "seconds": {str(number): values for number, values in seconds.items()},
        "times_faster_median": median(ratios),
        "times_faster_range": [min(ratios), max(ratios)],
    }


def _seconds(model: str, steps: int, at_once: int, folder: Path) -> float:
    """Wall seconds of one sweep of two seeds."""
    words = [
        *(sys.executable, "scripts/train.py", "-m", f"model={model}", "seed=1,2", f"trainer.max_steps={steps}"),
        *("trainer.validate_every=1000000", "trainer.checkpoint_every=1000000", "trainer.validation_batches=1"),
        *(f"hydra.launcher.jobs_at_once={at_once}", f"paths.logs={folder}"),
    ]
    environment = {name: value for name, value in os.environ.items() if name != THREADS}
    start = time.perf_counter()
    done = subprocess.run(words, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the sweep ended with {done.returncode}: {done.stderr[-500:]}")
    return time.perf_counter() - start


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One row a size."""
    made = Table(title="A sweep of two jobs, start to end", box=SIMPLE_HEAD)
    for column in ("model", "steps", "cores", "one after the other", "both at once", "times faster (range)"):
        made.add_column(column, justify="left" if column == "model" else "right")
    for result in results:
        one, two = (median(result["seconds"][str(number)]) for number in AT_ONCE)
        low, high = result["times_faster_range"]
        ratio = f"{result['times_faster_median']:.2f} ({low:.2f}–{high:.2f})"
        made.add_row(result["model"], str(result["steps"]), str(result["cores"]), f"{one:.1f} s", f"{two:.1f} s", ratio)
    return made


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes sweep.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(list(results), indent=1))
