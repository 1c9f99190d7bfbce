"""How busy other programs keep the processor, and what of it this process gets.

Linux counts the time of every core in /proc/stat; what this process and its ended children took is subtracted. Its
load average would answer half a minute late. Elsewhere (macOS) nothing is known of others, and `others` is None.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
BUSY = 0.5
"""Cores that others keep busy from which on a machine counts as busy."""
_IDLE = (3, 4)  # idle and waiting for a disk
_NICE = 1
_N_COLUMNS = 8  # guests, behind them, are counted among the users


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(_usable())


def _usable() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


@dataclass(frozen=True)
class Moment:
    """Seconds: of the clock, of all programs on the usable cores (None where nobody counts), of this process."""

    clock: float
    everybody: float | None
    ours: float
    main_thread: float


def now() -> Moment:
    """The clocks as they stand; the main thread asks."""
    times = os.times()
    ours = times.user + times.system + times.children_user + times.children_system
    return Moment(time.monotonic(), _everybody(), ours, time.thread_time())


def others(since: Moment, until: Moment) -> float | None:
    """Cores that other programs kept busy in between; None where nobody counts."""
    if since.everybody is None or until.everybody is None or until.clock <= since.clock:
        return None
    theirs = (until.everybody - since.everybody) - (until.ours - since.ours)
    return max(0.0, theirs / (until.clock - since.clock))


def free_cores(cores_of_others: float | None) -> int | None:
    """How many of the usable cores others leave, at least one; None where all are free or nothing is known."""
    if cores_of_others is None or cores_of_others < BUSY:
        return None
    return max(1, round(usable_cores() - cores_of_others))


def _everybody() -> float | None:
    """Seconds that programs took on the usable cores since the machine started.

    Those of programs nicer than this one do not count: they give way.
    """
    try:
        lines = STAT.read_text().splitlines()
        ticks = os.sysconf("SC_CLK_TCK")
        gives_way = os.getpriority(os.PRIO_PROCESS, 0) <= 0
    except (OSError, ValueError):
        return None
    left_out = {*_IDLE, *([_NICE] if gives_way else [])}
    usable = {f"cpu{number}" for number in _usable()}
    rows = [line.split() for line in lines if line.split(" ")[0] in usable]
    if not rows:
        return None
    return sum(int(n) for row in rows for i, n in enumerate(row[1 : 1 + _N_COLUMNS]) if i not in left_out) / ticks
