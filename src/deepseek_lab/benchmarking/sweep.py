"""What running jobs side by side saves: a sweep of two jobs at once against the same one after the other.

Whole sweeps are timed, starts of processes included, the ways in turn, so that a machine's drift falls on all. One
after the other is tried with all threads of the machine for each job, as torch would take them, and with one: small
networks are no faster with several. The ratio is taken from the quicker of the two, round by round.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.processor import usable_cores
from deepseek_lab.sweep.slots import THREADS

STEPS = {"nano": 100, "micro": 60}
"""Optimiser steps of a job, by the model's size: about ten seconds on one core."""


@dataclass(frozen=True)
class Way:
    """Jobs at once, and threads of each where their number is typed."""

    at_once: int
    threads: int | None = None


WAYS = {"one, all threads": Way(1), "one, one thread": Way(1, 1), "two at once": Way(2)}
TWO = "two at once"


def measure(model: str, rounds: int, report: Callable[[str], None], steps: int | None = None) -> dict[str, Any]:
    """The figures of one size: plain numbers, ready for json. Raises RuntimeError when a sweep fails."""
    steps = steps or STEPS[model]
    names = list(WAYS)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        _seconds(model, 1, WAYS[TWO], Path(folder))  # encodes the text where it is not yet, so that nobody is timed
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                seconds[name].append(_seconds(model, steps, WAYS[name], Path(folder)))
            report(f"round {number + 1}/{rounds}: " + ", ".join(f"{name} {seconds[name][-1]:.1f} s" for name in names))
    alone = [min(values) for values in zip(*(seconds[name] for name in names if name != TWO), strict=True)]
    ratios = [one / two for one, two in zip(alone, seconds[TWO], strict=True)]
    return {
        "model": model,
        "steps": steps,
        "cores": usable_cores(),
        "seconds": seconds,
        "times_faster_median": median(ratios),
        "times_faster_range": [min(ratios), max(ratios)],
    }


def _seconds(model: str, steps: int, way: Way, folder: Path) -> float:
    """Wall seconds of one sweep of two seeds."""
    words = [
        *(sys.executable, "scripts/train.py", "-m", f"model={model}", "seed=1,2", f"trainer.max_steps={steps}"),
        *("trainer.validate_every=1000000", "trainer.checkpoint_every=1000000", "trainer.validation_batches=1"),
        *(f"hydra.launcher.jobs_at_once={way.at_once}", "sweep_report=false", f"paths.logs={folder}"),
    ]
    environment = {name: value for name, value in os.environ.items() if name != THREADS}
    if way.threads:
        environment[THREADS] = str(way.threads)
    start = time.perf_counter()
    done = subprocess.run(words, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the sweep ended with {done.returncode}: {done.stderr[-500:]}")
    return time.perf_counter() - start


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One row a size."""
    made = Table(title="A sweep of two jobs, start to end (median)", box=SIMPLE_HEAD)
    for column in ("model", "steps", "cores", *WAYS, "times faster (range)"):
        made.add_column(column, justify="left" if column == "model" else "right")
    for result in results:
        times = [f"{median(result['seconds'][name]):.1f} s" for name in WAYS]
        low, high = result["times_faster_range"]
        ratio = f"{result['times_faster_median']:.2f} ({low:.2f}–{high:.2f})"
        made.add_row(result["model"], str(result["steps"]), str(result["cores"]), *times, ratio)
    return made


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes sweep.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(list(results), indent=1))
