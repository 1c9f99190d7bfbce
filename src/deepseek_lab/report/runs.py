"""The runs below a folder: what a finished one measured, and the others.

A run is finished when it has `DONE`; then `summary.json` and `metrics.jsonl` must be whole, and a broken one is a
DataError that names the file. A run without `DONE` is listed and never fatal (`unfinished.py`).

Left out: checkpoints and event files. Beside the two files a report reads what a run says of its origin
(`origin.py`), the loads of its experts (`loads.py`) and, from Hydra's own files, its number in its sweep.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_lab.config import DataError, nearest
from deepseek_lab.report.curve import Point, read_curve
from deepseek_lab.report.origin import Origin, read_origin
from deepseek_lab.report.run_files import DONE, METRICS, SUMMARY, finite, json_object, typed_order, whole_text, yaml_at
from deepseek_lab.report.unfinished import UnfinishedRun, read_unfinished


@dataclass(frozen=True, kw_only=True)
class Match:
    """How a run was made equal to its baseline: by which rule, to which value, and how far off it stayed.

    residual: share of the target, signed; None when it was not stored
    """

    rule: str
    target: float | None
    reached: float | None
    residual: float | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run; `overrides` is what was typed for it, `order` its place in its sweep, as typed.

    metrics: the last value of every curve, those that were finite
    loss, bits_per_byte: of held-out text; None where none was held out, and bits of pairs
    flops_per_token: of training; None in a summary without it
    other_cores: how many cores other programs kept busy meanwhile, on average; None where it is not known
    `text_hash` stands for the corpus, `tokens_hash` for the corpus as the run's tokenizer cut it.
    """

    folder: Path
    seed: int
    order: int
    choices: Mapping[str, str | None]
    overrides: tuple[str, ...]
    metrics: Mapping[str, float]
    loss: float | None
    bits_per_byte: float | None
    total_params: int
    active_params: int
    mtp_params: int
    flops_per_token: float | None
    kv_cache_bytes_per_token: float
    steps: int
    tokens: int
    seconds: float | None
    tokens_per_second: float | None
    other_cores: float | None
    trigram_bits_per_byte: float | None
    text_hash: str | None
    tokens_hash: str | None
    match: Match | None
    origin: Origin
    curve: tuple[Point, ...]


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


def read_runs(folders: Path | Sequence[Path]) -> tuple[list[Run], list[UnfinishedRun]]:
    """The finished runs below some folders in the order of their sweeps, and the others. Raises DataError."""
    finished: list[Run] = []
    unfinished: list[UnfinishedRun] = []
    given = [folders] if isinstance(folders, Path) else folders
    paths = list(dict.fromkeys(path.resolve() for folder in given for path in run_folders(folder)))
    for path in paths:
        if (path / DONE).exists():
            finished.append(read_run(path))
        else:
            unfinished.append(read_unfinished(path))
    places = list(dict.fromkeys(path.parent for path in paths))  # as given; below one folder, by name
    return sorted(finished, key=lambda run: (places.index(run.folder.parent), run.order, run.folder.name)), unfinished


def read_run(folder: Path) -> Run:
    """One finished run. Raises DataError naming the file that is missing, cut off or lacks a value."""
    path = folder / SUMMARY
    summary = json_object(path, whole_text(path))
    try:
        return Run(
            folder=folder,
            order=_job_number(folder),
            origin=read_origin(folder),
            curve=read_curve(folder / METRICS, int(summary["tokens"]) / max(int(summary["steps"]), 1)),
            **_chosen(summary),
            **_sizes(summary),
            **_measured(summary),
        )
    except KeyError as error:
        raise DataError(f"{path}: has no {error.args[0]!r}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: holds a value of the wrong kind ({error})") from error


def _chosen(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was to be."""
    data = summary.get("data") or {}
    return {
        "seed": int(summary["seed"]),
        "choices": {str(k): None if v is None else str(v) for k, v in summary["choices"].items()},
        "overrides": tuple(str(line) for line in summary["overrides"]),
        "text_hash": data.get("content"),
        "tokens_hash": data.get("hash"),
        "match": _match(summary.get("match")),
    }


def _sizes(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What its network measures."""
    counts = summary["counts"]
    return {
        "total_params": int(counts["total_params"]),
        "active_params": int(counts["active_params"]),
        "mtp_params": int(counts["mtp_params"]),
        "flops_per_token": finite(counts.get("flops_per_token")),
        "kv_cache_bytes_per_token": float(summary["kv_cache_bytes_per_token"]),
    }


def _measured(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What came of it."""
    metrics = summary["metrics"]
    return {
        "metrics": {str(name): known for name, value in metrics.items() if (known := finite(value)) is not None},
        "loss": finite(metrics.get("val/loss")),
        "bits_per_byte": finite(metrics.get("val/bits_per_byte")),
        "steps": int(summary["steps"]),
        "tokens": int(summary["tokens"]),
        "seconds": finite(summary.get("seconds")),
        "tokens_per_second": finite(summary.get("tokens_per_second")),
        "other_cores": finite(summary.get("other_cores")),
        "trigram_bits_per_byte": finite((summary.get("baselines") or {}).get("trigram_bits_per_byte")),
    }


def _match(stored: Any) -> Match | None:
    """The rule `none` matches nothing."""
    if not isinstance(stored, dict) or stored.get("rule") in (None, "none"):
        return None
    numbers = {name: finite(stored.get(name)) for name in ("target", "reached", "residual")}
    return Match(rule=str(stored["rule"]), **numbers)


def _job_number(folder: Path) -> int:
    """The job's place in its sweep, in the order typed; 0 for a single run and where no file says it."""
    typed = typed_order(folder.parent)
    if folder.name in typed:
        return typed.index(folder.name)
    number = yaml_at(folder / ".hydra" / "hydra.yaml", "hydra", "job", "num")
    return len(typed) + (number if isinstance(number, int) else 0)
