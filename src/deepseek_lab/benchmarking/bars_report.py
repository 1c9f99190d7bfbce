"""The bars with what was measured as a table, a picture and a file."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from deepseek_lab.benchmarking.bars import Verdict
from deepseek_lab.checkpoint.atomic import write_atomically, write_text_atomically

_COLOURS = {"goal": "C2", "must": "C0", "neither": "C3"}


def table(found: Sequence[Verdict]) -> Table:
    """One line a bar and row; the worse end of the interval decides. 80 columns are enough."""
    made = Table(
        title="The bars (✓: the worse end of the interval meets it)",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in ("", "measured", "median (90%)", "must", "goal"):
        made.add_column(column, no_wrap=column != "measured")
    for verdict in found:
        marks = (_mark(verdict, mark) for mark in (verdict.must, verdict.goal))
        value = f"{verdict.value:.2f} ({verdict.low:.2f}–{verdict.high:.2f})"
        made.add_row(f"({verdict.letter})", _measured(verdict), value, *marks)
    return made


def _measured(verdict: Verdict) -> str:
    return f"{verdict.command.replace(' --rows', '')}, {verdict.what}"


def _mark(verdict: Verdict, mark: float | None) -> str:
    if mark is None:
        return "-"
    return f"{'≤' if verdict.at_most else '≥'} {mark:<4g} {'✓' if verdict.meets(mark) else '✗'}"


def save(found: Sequence[Verdict], folder: Path) -> None:
    """Writes bars.json and bars.png."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {**asdict(verdict), "must_met": verdict.meets(verdict.must), "goal_met": verdict.meets(verdict.goal)}
        for verdict in found
    ]
    write_text_atomically(folder / "bars.json", json.dumps(rows, indent=1))
    held = [verdict for verdict in found if verdict.must is not None]
    if held:
        figure = picture(held)
        write_atomically(folder / "bars.png", lambda file: figure.savefig(file, format="png", dpi=150))


def picture(held: Sequence[Verdict]) -> Any:
    """Each bar's measure as a multiple of what must be (right is better), with its interval and its goal."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(8, 0.24 * len(held) + 1.3), layout="constrained")
    axes = figure.subplots()
    for place, verdict in enumerate(held):
        _draw(axes, place, verdict)
    axes.axvline(1, color="k", linewidth=0.8)
    axes.set_xscale("log")
    ticks = (0.5, 1, 2, 4, 8)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    labels = [f"({verdict.letter}) {_measured(verdict)}" for verdict in held]
    axes.set_yticks(range(len(held)), labels, fontsize=7)
    axes.set_ylim(len(held) - 0.5, -0.5)
    axes.set_xlabel("times as good as it must be, with its 90% interval (upright: the goal)", fontsize=8)
    colours = [Line2D([], [], color=colour, marker="o", label=f"{met} met") for met, colour in _COLOURS.items()]
    axes.legend(handles=colours, fontsize=7)
    return figure


def _draw(axes: Any, place: int, verdict: Verdict) -> None:
    assert verdict.must is not None, "only what must be is drawn"
    ends = [verdict.must / end if verdict.at_most else end / verdict.must for end in (verdict.low, verdict.high)]
    colour = _COLOURS["goal" if verdict.meets(verdict.goal) else "must" if verdict.meets(verdict.must) else "neither"]
    axes.plot(ends, [place, place], color=colour, linewidth=2)
    axes.plot(verdict.times_must, place, "o", color=colour, markersize=4)
    if verdict.goal is not None:
        goal = verdict.must / verdict.goal if verdict.at_most else verdict.goal / verdict.must
        axes.plot(goal, place, "k|", markersize=7)
