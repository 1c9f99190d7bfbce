"""Rows of jsonl files that people bring: one JSON object a line, every fault named with its place.

Whole files only; what a run writes itself, and may have written half, is read elsewhere.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deepseek_lab.config import ConfigError, DataError


def jsonl_files(path: str) -> list[Path]:
    """The file that `path` names, or all .jsonl files of a folder, sorted. Raises ConfigError when there are none."""
    root = Path(path).expanduser()
    files = sorted(root.rglob("*.jsonl")) if root.is_dir() else [root]
    if not files or not files[0].is_file():
        raise ConfigError(f"names no .jsonl file: {path}", "path")
    return files


def jsonl_rows(files: Sequence[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object with the place it stands at. Raises DataError, with that place, for anything else."""
    for file in files:
        for number, line in enumerate(_lines(file), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{file}, line {number} is no JSON: {error}") from None
            if not isinstance(row, dict):
                raise DataError(f"{file}, line {number} is no JSON object")
            yield f"{file}, line {number}", row


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8") as lines:
            yield from lines
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text: {error}") from None
