"""One job of a sweep as a process of its own: how it is started, watched, stopped, and what it leaves.

The process leads a group that its ranks belong to, so that a signal reaches all of them and none is left behind. What
it prints goes to `log.txt` in its run folder, behind what earlier attempts left there.
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.disk import naming
from deepseek_lab.sweep.slots import Needs, Slot

LOG = "log.txt"
JOBS = "jobs.json"
_TAIL = 16384
"""Bytes at the end of `metrics.jsonl` in which its last row is looked for."""


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """A job before it starts: its run folder, its command line, what it asks of the machine, its last step."""

    folder: Path
    command: Sequence[str]
    needs: Needs = field(default_factory=Needs)
    max_steps: int | None = None

    @property
    def name(self) -> str:
        """The words of its folder."""
        return self.folder.name

    @property
    def finished(self) -> bool:
        """Whether it has been done, now or by an earlier command."""
        return (self.folder / "DONE").is_file()

    def last_row(self) -> dict[str, Any]:
        """The last whole row of its curves; empty before the first."""
        with contextlib.suppress(OSError, ValueError), (self.folder / "metrics.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            row = json.loads(file.read().decode(errors="replace").split("\n")[-2:][0])
            return row if isinstance(row, dict) else {}
        return {}

    def result(self) -> float | None:
        """Its last validation loss (what a sweep ranks by); None for one that is not finished or validated."""
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            return float(json.loads((self.folder / "summary.json").read_text())["metrics"]["val/loss"])
        return None

    def log_end(self, n_lines: int) -> list[str]:
        """The last lines of its log that say something."""
        with contextlib.suppress(OSError), (self.folder / LOG).open(encoding="utf-8", errors="replace") as file:
            return list(deque((line.rstrip().split("\r")[-1] for line in file if line.strip()), maxlen=n_lines))
        return []


class JobProcess:
    """A job that runs. Raises OSError where its folder or its process cannot be made."""

    def __init__(self, job: PlannedJob, slot: Slot, environment: Mapping[str, str]) -> None:
        """environment: what it gets beside that of this process and of its slot."""
        self.job = job
        self.slot = slot
        self.started = time.monotonic()
        job.folder.mkdir(parents=True, exist_ok=True)
        given = [f"{name}={value}" for name, value in slot.environment.items()]
        with naming(job.folder / LOG), (job.folder / LOG).open("a") as log:
            log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join([*given, *job.command])}\n")
            log.flush()
            self._process = subprocess.Popen(
                job.command,
                env={**os.environ, **slot.environment, **environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._ended: float | None = None

    def poll(self, patience: float = 10.0) -> int | None:
        """The exit code once the process and its ranks have ended; ranks that outlive it by `patience` s are killed."""
        code = self._process.poll()
        if code is None:
            return None
        self._ended = self._ended or time.monotonic()
        if self.job.needs.devices > 1 and self._signal(0) and time.monotonic() - self._ended < patience:
            return None
        self._signal(signal.SIGKILL)
        return code

    def stop(self) -> None:
        """Asks it to end its step, save and stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once, ranks included."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> bool:
        """Whether there was still somebody in the group to get it."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def note_order(folders: Sequence[Path]) -> None:
    """Writes the order in which jobs were typed into their sweep's folder: a report's order, and its baseline.

    Further jobs of a sweep stand behind those of earlier commands; a command that names all of them orders them anew.
    Raises OSError.
    """
    for sweep in dict.fromkeys(folder.parent for folder in folders):
        names = list(dict.fromkeys(folder.name for folder in folders if folder.parent == sweep))
        before: list[str] = []
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            before = [str(name) for name in json.loads((sweep / JOBS).read_text(encoding="utf-8"))["folders"]]
        order = names if set(before) <= set(names) else [*before, *(name for name in names if name not in before)]
        sweep.mkdir(parents=True, exist_ok=True)
        write_text_atomically(sweep / JOBS, json.dumps({"folders": order}, indent=1))


def ending(code: int) -> str:
    """An exit code in words: `exit code 2`, `killed by SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"
