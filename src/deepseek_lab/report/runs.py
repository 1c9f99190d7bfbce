"""The runs below a folder: what a finished one measured, and how far an unfinished one has come.

A run is finished when it has `DONE`; then `summary.json` and `metrics.jsonl` must be whole, and a
broken one is a DataError that names the file. A run without `DONE` is still going, was stopped or
failed: which of them its files do not say, so it is listed and never fatal.

Left out: checkpoints, event files and the composed config. The one thing read beside the two files is
the job's number in its sweep (`.hydra/hydra.yaml`), so that variants stand in the order of the question.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deepseek_lab.config import DataError, nearest

DONE, SUMMARY, METRICS = "DONE", "summary.json", "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One validation: after how many steps and training tokens, with which bits per byte."""

    step: int
    tokens: float
    bits_per_byte: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run; `overrides` is what was typed for it, `order` its number in its sweep.

    `text_hash` stands for the corpus, `tokens_hash` for the corpus as the run's tokenizer cut it.
    """

    folder: Path
    seed: int
    order: int
    choices: Mapping[str, str | None]
    overrides: tuple[str, ...]
    loss: float
    bits_per_byte: float
    total_params: int
    active_params: int
    mtp_params: int
    kv_cache_bytes_per_token: float
    steps: int
    tokens: int
    seconds: float | None
    tokens_per_second: float | None
    trigram_bits_per_byte: float | None
    text_hash: str | None
    tokens_hash: str | None
    curve: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class UnfinishedRun:
    """A run without `DONE`; `step` is the last one it logged, None before the first."""

    folder: Path
    step: int | None


def run_folders(folder: Path) -> Iterator[Path]:
    """Every run folder at or below `folder`, by name. Raises DataError when there is no such folder."""
    if not folder.is_dir():
        beside = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise DataError(f"{folder}: no such folder{nearest(folder.name, beside)}")
    for path, inner, files in os.walk(folder):
        inner.sort()
        if ".hydra" in inner or SUMMARY in files or METRICS in files:
            inner.clear()
            yield Path(path)


def read_runs(folder: Path) -> tuple[list[Run], list[UnfinishedRun]]:
    """The finished runs below `folder` in the order of their sweep, and the others. Raises DataError."""
    finished: list[Run] = []
    unfinished: list[UnfinishedRun] = []
    for path in run_folders(folder):
        if (path / DONE).exists():
            finished.append(read_run(path))
        else:
            unfinished.append(UnfinishedRun(folder=path, step=_last_step(path)))
    return sorted(finished, key=lambda run: (str(run.folder.parent), run.order, run.folder.name)), unfinished


def read_run(folder: Path) -> Run:
    """One finished run. Raises DataError naming the file that is missing, cut off or lacks a value."""
    path = folder / SUMMARY
    summary = _object(path, _text(path))
    try:
        tokens, steps = int(summary["tokens"]), int(summary["steps"])
        data = summary.get("data") or {}
        counts, metrics = summary["counts"], summary["metrics"]
        return Run(
            folder=folder,
            seed=int(summary["seed"]),
            order=_job_number(folder),
            choices={str(k): None if v is None else str(v) for k, v in summary["choices"].items()},
            overrides=tuple(str(line) for line in summary["overrides"]),
            loss=float(metrics["val/loss"]),
            bits_per_byte=float(metrics["val/bits_per_byte"]),
            total_params=int(counts["total_params"]),
            active_params=int(counts["active_params"]),
            mtp_params=int(counts["mtp_params"]),
            kv_cache_bytes_per_token=float(summary["kv_cache_bytes_per_token"]),
            steps=steps,
            tokens=tokens,
            seconds=_number(summary.get("seconds")),
            tokens_per_second=_number(summary.get("tokens_per_second")),
            trigram_bits_per_byte=_number((summary.get("baselines") or {}).get("trigram_bits_per_byte")),
            text_hash=data.get("content"),
            tokens_hash=data.get("hash"),
            curve=read_curve(folder / METRICS, tokens / max(steps, 1)),
        )
    except KeyError as error:
        raise DataError(f"{path}: has no {error.args[0]!r}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: holds a value of the wrong kind ({error})") from error


def read_curve(path: Path, tokens_per_step: float) -> tuple[Point, ...]:
    """The validations in a metrics file; values that were not finite are left out. Raises DataError.

    tokens_per_step: what stands in for `train/tokens` in a row that lacks it.
    """
    points: list[Point] = []
    for number, line in enumerate(_text(path).split("\n")[:-1], start=1):
        row = _object(path, line, f" line {number}")
        value = row.get("val/bits_per_byte")
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            continue
        step = row.get("step")
        if not isinstance(step, int):
            raise DataError(f"{path} line {number}: has no 'step'")
        tokens = _number(row.get("train/tokens"))
        points.append(Point(step=step, tokens=tokens or step * tokens_per_step, bits_per_byte=float(value)))
    return tuple(points)


def _number(value: Any) -> float | None:
    """`value` when it is a finite number."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _text(path: Path) -> str:
    """The text of a file. Raises DataError when it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file, though the run has a {DONE}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text file") from None


def _object(path: Path, text: str, where: str = "") -> dict[str, Any]:
    """A JSON object. Raises DataError with the file and place."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}{where}: is no JSON ({error.msg})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}{where}: is no JSON object")
    return value


def _job_number(folder: Path) -> int:
    """The job's number in its sweep; 0 for a single run and where the file does not say."""
    try:
        number = yaml.safe_load((folder / ".hydra" / "hydra.yaml").read_text())["hydra"]["job"]["num"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return 0
    return number if isinstance(number, int) else 0


def _last_step(folder: Path) -> int | None:
    """The step of the last whole row of an unfinished run."""
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").split("\n")[:-1]
        return int(json.loads(lines[-1])["step"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
