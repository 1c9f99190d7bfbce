"""What a person sees of a running sweep: on a terminal one line a job that moves, elsewhere a line when one changes.

Left out: the jobs' own output, which stands in their `log.txt`, and what became of them, which the report tells.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deepseek_lab.sweep.job_process import PlannedJob

STYLES = {
    "running": "bold",
    "failed": "red",
    "stopped": "yellow",
    "queued": "dim",
    "finished": "green",
    "finished before": "dim green",
}
"""States of a job, those first that are shown first where there is no room for all."""

_VALUES = (("train/loss", "loss {:.3f}"), ("val/bits_per_byte", "val {:.3f} bits/byte"))


@dataclass
class Standing:
    """Where a job stands; times in seconds of the monotonic clock."""

    job: PlannedJob
    state: str = "queued"
    started: float | None = None
    ended: float | None = None

    @property
    def seconds(self) -> float:
        """How long it has run, or did run."""
        return 0.0 if self.started is None else (self.ended or time.monotonic()) - self.started

    def progress(self) -> str:
        """`step 30/300  loss 4.213`; empty before the first row."""
        row = self.job.last_row() if self.state != "queued" else {}
        if "step" not in row:
            return ""
        values = [form.format(row[name]) for name, form in _VALUES if isinstance(row.get(name), float)]
        return "  ".join([f"step {row['step']}/{self.job.max_steps or '?'}", *values])


class Board:
    """Shows standings; a context, so that a terminal is left as it was."""

    def __init__(self, standings: Sequence[Standing], console: Console | None = None) -> None:
        self.standings = standings
        self.console = console or Console(stderr=True, markup=False, emoji=False)
        self._live: Live | None = None

    def __enter__(self) -> "Board":
        before = sum(standing.state == "finished before" for standing in self.standings)
        if before:
            self.say(f"{before} of {len(self.standings)} jobs are finished already")
        if self.console.is_terminal:
            self._live = Live(get_renderable=self.render, console=self.console, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> Any:
        if self._live:
            self._live.stop()

    def say(self, line: str, style: str = "") -> None:
        """A line that stays, above the moving ones."""
        self.console.print(Text(line, style), soft_wrap=True)

    def changed(self, standing: Standing) -> None:
        """A job has another state: a line where there is no terminal to show it on."""
        if self._live:
            return
        number = 1 + next(i for i, other in enumerate(self.standings) if other is standing)
        did = "started" if standing.state == "running" else standing.state
        after = f" after {standing.seconds:.0f} s" if standing.ended else ""
        values = f"  {progress}" if standing.ended and (progress := standing.progress()) else ""
        self.say(f"job {number} of {len(self.standings)} {did}{after}: {standing.job.name}{values}")

    def render(self) -> RenderableType:
        """All jobs in their order; where the terminal is too low, those that matter now and a count of the rest."""
        room = max(3, self.console.size.height - 2)
        shown: Sequence[Standing] = self.standings
        if len(shown) > room:
            states = list(STYLES)
            urgent = sorted(shown, key=lambda standing: states.index(standing.state))[:room]
            shown = [standing for standing in shown if any(standing is one for one in urgent)]
        counts = Counter(standing.state for standing in self.standings)
        summary = ", ".join(f"{counts[state]} {state}" for state in STYLES if counts[state])
        return Group(_table(shown), Text(f"{len(self.standings)} jobs: {summary}", "bold"))


def _table(standings: Sequence[Standing]) -> Table:
    table = Table.grid(padding=(0, 2))
    for options in ({"no_wrap": True}, {"no_wrap": True, "overflow": "ellipsis"}, {"no_wrap": True}, {}):
        table.add_column(**options)
    for standing in standings:
        seconds = f"{standing.seconds:.0f} s" if standing.started else ""
        style = STYLES[standing.state]
        table.add_row(Text(standing.state, style), standing.job.name, seconds, standing.progress())
    return table
