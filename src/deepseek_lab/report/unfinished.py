"""Runs without `DONE`: how far they have come, whether something still writes them, and what their log says last.

The launcher writes a run's output to `log.txt` in its folder, and a run holds a lock on a file there while it
writes. Where neither is there, a run is said to be still going, stopped or failed: its files do not tell which.
"""

import contextlib
import fcntl
import json
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from deepseek_lab.report.run_files import LOG, METRICS, yaml_at

TAIL = 12
"""Lines of a log that a report shows."""


@dataclass(frozen=True, kw_only=True)
class UnfinishedRun:
    """A run without `DONE`.

    step: the last one it logged, None before the first
    max_steps: how many it was to do; None when its config is missing
    state: `running`, `failed`, `stopped`, or `unknown` where neither a log nor a lock says
    log: the last lines of its log
    """

    folder: Path
    step: int | None
    max_steps: int | None
    state: str
    log: tuple[str, ...]

    @property
    def progress(self) -> str:
        """`at step 30 of 40 (75%)`."""
        if self.step is None:
            return "before its first row"
        if not self.max_steps:
            return f"at step {self.step}"
        return f"at step {self.step} of {self.max_steps} ({self.step / self.max_steps:.0%})"

    @property
    def reason(self) -> str | None:
        """The line of the log that says why it failed: the last that is no indented detail."""
        if self.state != "failed":
            return None
        errors = [line for line in self.log if re.match(r"(error|\w+(\.\w+)*(Error|Exception|Interrupt)): ", line)]
        return errors[-1] if errors else self.log[-1]


def read_unfinished(folder: Path) -> UnfinishedRun:
    """What is known of a run folder without `DONE`; nothing missing or broken in it is an error."""
    log = _tail(folder / LOG)
    max_steps = yaml_at(folder / ".hydra" / "config.yaml", "trainer", "max_steps")
    return UnfinishedRun(
        folder=folder,
        step=_last_step(folder),
        max_steps=max_steps if isinstance(max_steps, int) else None,
        state=_state(folder, log),
        log=log,
    )


def _state(folder: Path, log: tuple[str, ...]) -> str:
    """What lock and log say became of a run."""
    locks = list(folder.glob("*lock"))
    if any(map(is_locked, locks)):
        return "running"
    if any(re.match(r"(error: |Traceback |\w+(\.\w+)*(Error|Exception): )", line) for line in log):
        return "failed"
    return "stopped" if locks else "unknown"


def is_locked(path: Path) -> bool:
    """Whether another process holds `path`; asked with a shared lock that is given back at once."""
    with contextlib.suppress(OSError), path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _tail(path: Path) -> tuple[str, ...]:
    """The last lines of a log that say something."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = deque((line.rstrip() for line in file if line.strip()), maxlen=TAIL)
    except OSError:
        return ()
    return tuple(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.split("\r")[-1]) for line in lines)


def _last_step(folder: Path) -> int | None:
    """The step of the last whole row."""
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").split("\n")[:-1]
        return int(json.loads(lines[-1])["step"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
