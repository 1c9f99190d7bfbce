"""`write_report(folder)`: reads a folder's runs, compares them, writes and prints what they show.

The files go into the folder itself: `report.md`, `table.csv` and `plots/loss.png`. Each is written
beside its name and renamed, so a reader, or a second report of a running sweep, never meets half a file.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.report.comparison import Comparison, compare
from deepseek_lab.report.figure import loss_figure
from deepseek_lab.report.runs import UnfinishedRun, read_runs
from deepseek_lab.report.table import csv_table, markdown_table, rich_table

NARROWEST = 100
"""Columns that the table takes where there is no terminal to ask."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report says and the files it was written to."""

    comparison: Comparison
    unfinished: tuple[UnfinishedRun, ...]
    markdown: Path
    table: Path
    figure: Path


def report(cfg: DictConfig) -> Report:
    """What scripts/report.py runs: `runs=FOLDER`, `baseline=` a variant. Raises ConfigError, DataError, OSError."""
    if not isinstance(cfg.runs, str):
        raise ConfigError(f"must name a folder, not {cfg.runs!r}", "runs")
    return write_report(Path(cfg.runs).expanduser(), None if cfg.baseline is None else str(cfg.baseline))


def write_report(folder: Path, baseline: str | None = None, console: Console | None = None) -> Report:
    """Writes the report of all runs below `folder` into it, and prints the table.

    baseline: the variant the others are compared with; None takes the first
    Raises DataError when there is no finished run or a broken one, ConfigError for an unknown baseline,
    OSError when the files cannot be written.
    """
    finished, unfinished = read_runs(folder)
    if not finished:
        also = f" ({len(unfinished)} unfinished)" if unfinished else ""
        raise DataError(f"{folder}: holds no finished run{also}")
    comparison = compare(finished, baseline)
    title = f"{folder.resolve().name}: {_question(comparison)}"
    made = Report(
        comparison=comparison,
        unfinished=tuple(unfinished),
        markdown=folder / "report.md",
        table=folder / "table.csv",
        figure=folder / "plots" / "loss.png",
    )
    write_whole(made.table, csv_table(comparison).encode())
    write_whole(made.figure, loss_figure(comparison, f"Validation loss while training, {title}"))
    write_whole(made.markdown, "\n".join(_markdown(made, title, folder)).encode())
    _print(made, title, folder, console or _console())
    return made


def write_whole(path: Path, content: bytes) -> None:
    """Gives `path` this content at once; what stood there stays when the disk refuses. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _question(comparison: Comparison) -> str:
    """The variants by name, or their number when the names are long."""
    if len(comparison.variants) == 1:
        return "one variant"
    names = ", ".join(variant.label for variant in comparison.variants)
    return names if len(names) <= 60 else f"{len(comparison.variants)} variants"


def _notes(made: Report) -> list[str]:
    """The sentences under the table."""
    comparison = made.comparison
    notes = [comparison.verdict, *comparison.warnings]
    if len(comparison.variants) == 1:
        return notes
    return [f"Difference: bits per byte against {comparison.baseline.label}; negative is better.", *notes]


def _progress(run: UnfinishedRun, folder: Path) -> str:
    step = "before its first row" if run.step is None else f"at step {run.step}"
    return f"{run.folder.relative_to(folder)}: {step}"


def _markdown(made: Report, title: str, folder: Path) -> Sequence[str]:
    """The lines of report.md."""
    lines = [f"# {title}", "", markdown_table(made.comparison), *(f"{note}  " for note in _notes(made)), ""]
    lines += ["Figures are means over seeds on held-out text. *KV bytes/token* is what the cache keeps of one token."]
    lines += ["*Add-one trigram* is a count model of bytes fitted on the same training text.", ""]
    lines += [f"![Validation bits per byte against training tokens]({made.figure.relative_to(folder)})", ""]
    lines += ["## Runs", ""]
    for run in (run for variant in made.comparison.variants for run in variant.runs):
        lines.append(f"- `{run.folder.relative_to(folder)}`: seed {run.seed}, {run.steps} steps, {run.tokens:,} tokens")
    if made.unfinished:
        lines += ["", "## Not finished", "", "Still going, stopped or failed; they are in no figure above.", ""]
        lines += [f"- {_progress(run, folder)}" for run in made.unfinished]
    return [*lines, "", f"Curves: `tensorboard --logdir {_shown(folder)}`", ""]


def _print(made: Report, title: str, folder: Path, console: Console) -> None:
    console.print(rich_table(made.comparison, title))
    for note in _notes(made):
        console.print(note, highlight=False, markup=False)
    for run in made.unfinished:
        console.print(f"not finished: {_progress(run, folder)}", highlight=False, markup=False)
    console.print()
    for name, path in (("report", made.markdown), ("table", made.table), ("picture", made.figure)):
        console.print(f"{name + ':':9}{_shown(path)}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"curves:  tensorboard --logdir {_shown(folder)}", highlight=False, markup=False, soft_wrap=True)


def _shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path.resolve())


def _console() -> Console:
    """Standard output, wide enough for the table where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=max(NARROWEST, console.width))
