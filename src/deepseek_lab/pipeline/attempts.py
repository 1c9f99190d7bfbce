"""How long a step has run, over all its attempts: `attempts.json` in its folder.

An attempt that was killed has no end written down. Its last sign of life is what it printed last, so the time its log
was written to counts as its end.
"""

import json
import time
from pathlib import Path
from typing import Any

from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.sweep.job_process import LOG

FILE = "attempts.json"


def begin(folder: Path) -> None:
    """Notes that a new attempt starts now."""
    rows = _closed(folder)
    _write(folder, [*rows, {"began": time.time(), "ended": None}])


def end(folder: Path) -> None:
    """Notes that the attempt has ended now."""
    rows = _read(folder)
    if rows and rows[-1]["ended"] is None:
        rows[-1]["ended"] = time.time()
        _write(folder, rows)


def seconds(folder: Path) -> float:
    """Of all attempts together; 0 for a step that never ran."""
    return float(sum(max(0.0, row["ended"] - row["began"]) for row in _closed(folder)))


def count(folder: Path) -> int:
    """How often it was started."""
    return len(_read(folder))


def _closed(folder: Path) -> list[dict[str, Any]]:
    """All attempts, each with an end."""
    log = folder / LOG
    seen = log.stat().st_mtime if log.exists() else 0.0
    return [{**row, "ended": row["ended"] or max(seen, row["began"])} for row in _read(folder)]


def _read(folder: Path) -> list[dict[str, Any]]:
    """Empty when there is no such file, or it is none of ours."""
    try:
        rows = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return rows if isinstance(rows, list) else []


def _write(folder: Path, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / FILE, json.dumps(rows) + "\n")
