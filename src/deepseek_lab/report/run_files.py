"""Reading one file of a run folder: JSON that must be whole, JSON that may be missing, and numbers in it.

A finished run must have whole files; a broken one is a DataError of one line that names the file and the place.
"""

import json
import math
from pathlib import Path
from typing import Any

import yaml

from deepseek_lab.config import DataError

DONE, SUMMARY, METRICS, PROVENANCE = "DONE", "summary.json", "metrics.jsonl", "provenance.json"
JOBS = "jobs.json"
LOADS, LOG = "expert_load.jsonl", "log.txt"


def finite(value: Any) -> float | None:
    """`value` when it is a finite number."""
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def whole_text(path: Path) -> str:
    """The text of a file. Raises DataError when it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file, though the run has a {DONE}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text file") from None


def json_object(path: Path, text: str, where: str = "") -> dict[str, Any]:
    """A JSON object. Raises DataError with the file and the place."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}{where}: is no JSON ({error.msg})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}{where}: is no JSON object")
    return value


def json_rows(path: Path, text: str) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines, but a last one that is still being written. Raises DataError."""
    return [json_object(path, line, f" line {n}") for n, line in enumerate(text.split("\n")[:-1], start=1)]


def typed_order(sweep: Path) -> list[str]:
    """The run folders of a sweep in the order in which their jobs were typed; empty where nobody noted it."""
    try:
        names = json.loads((sweep / JOBS).read_text(encoding="utf-8"))["folders"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def yaml_at(path: Path, *keys: str) -> Any:
    """What stands under `keys` in a YAML file; None when the file or a key is missing or broken."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key in keys:
            value = value[key]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
        return None
    return value
