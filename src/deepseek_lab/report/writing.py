"""`write_report(runs)`: reads the runs below some folders, compares them, writes and prints what they show.

Written are `report.md`, `report.html`, `table.csv`, `plots/` and, for TensorBoard, `variants/`. Each is written
beside its name and renamed, so a reader, or a second report of a running sweep, never meets half a file.
"""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.disk import naming
from deepseek_lab.report.answering import answer, by_question
from deepseek_lab.report.comparison import Comparison
from deepseek_lab.report.document import Picture
from deepseek_lab.report.figures import draw
from deepseek_lab.report.findings import Evidence
from deepseek_lab.report.markdown import PLOTS, markdown
from deepseek_lab.report.overview import Overview, overview_cells, overview_csv, overview_document, overview_figure
from deepseek_lab.report.page import page
from deepseek_lab.report.runs import Run, read_runs
from deepseek_lab.report.sections import Contents, document
from deepseek_lab.report.table import csv_table
from deepseek_lab.report.terminal import print_overview, print_report
from deepseek_lab.report.unfinished import UnfinishedRun
from deepseek_lab.report.variant_curves import write_variant_curves


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report says and the files it was written to.

    evidence: None while no run is finished, and for an overview of several questions
    """

    evidence: Evidence | None
    unfinished: tuple[UnfinishedRun, ...]
    markdown: Path
    page: Path
    table: Path | None
    plots: tuple[Path, ...]

    @property
    def comparison(self) -> Comparison | None:
        """The variants and their baseline."""
        return self.evidence.comparison if self.evidence else None


def write_report(
    runs: Path | Sequence[Path],
    out: Path | None = None,
    baseline: str | None = None,
    console: Console | None = None,
    metrics: Sequence[str] | None = None,
) -> Report:
    """Writes the report of all runs below `runs` and prints the table.

    out: the folder it goes to; None takes that of the runs, when it is one
    baseline: the variant the others are compared with; None asks the sweep's ablation, else takes the first
    metrics: the curves that decide; None asks the ablation, else takes bits per byte
    Runs that ask different questions (of `ablation`) are answered question by question, in one overview, unless a
    baseline or metrics are given.
    Raises DataError when there is no run or a broken one, ConfigError for an unknown baseline or a missing `out`,
    OSError when the files cannot be written.
    """
    folders = [runs] if isinstance(runs, Path) else list(runs)
    if out is None and len(folders) > 1:
        raise ConfigError("has no value; runs of several folders need one for their report: out=FOLDER", "out")
    finished, unfinished = read_runs(folders)
    if not finished and not unfinished:
        raise DataError(f"{', '.join(map(str, folders))}: holds no run")
    questions = by_question(finished) if baseline is None and metrics is None else []
    if len(questions) > 1:
        return _write_overview(Overview(tuple(questions), len(unfinished)), folders[0] if out is None else out, console)
    contents = _contents(finished, unfinished, folders, baseline, metrics)
    return _print_and_write(contents, folders, folders[0] if out is None else out, console)


def _print_and_write(contents: Contents, folders: Sequence[Path], out: Path, console: Console | None) -> Report:
    """Where the files cannot be written the table is printed all the same. Raises OSError."""
    try:
        made = _write(contents, out)
    except OSError as error:
        print_report(None, contents, folders, console)
        raise _elsewhere(error) from None
    print_report(made, contents, folders, console)
    return made


def _elsewhere(error: OSError) -> OSError:
    """The disk's refusal with what helps where the folder is not one's own to write into."""
    if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
        return error
    cause = str(error) if "could not be written" in str(error) else f"{error.filename}: {error.strerror}"
    return OSError(f"{cause}; out=FOLDER writes the report elsewhere")


def _contents(
    finished: Sequence[Run],
    unfinished: Sequence[UnfinishedRun],
    folders: Sequence[Path],
    baseline: str | None,
    metrics: Sequence[str] | None,
) -> Contents:
    """Everything a report says."""
    places = [folder.resolve() for folder in folders]
    name = ", ".join(place.name for place in places)
    shown, warnings = answer(finished, baseline, metrics) if finished else (None, [])
    return Contents(
        title=f"{name}: {_variants(shown.comparison)}" if shown else name,
        root=places[0] if len(places) == 1 else Path(os.path.commonpath(places)),
        evidence=shown,
        unfinished=tuple(unfinished),
        pictures=draw(shown) if shown else (),
        warnings=tuple(warnings),
    )


def _variants(comparison: Comparison) -> str:
    """The variants by name, or their number when the names are long."""
    if len(comparison.variants) == 1:
        return "one variant"
    names = ", ".join(variant.label for variant in comparison.variants)
    return names if len(names) <= 60 else f"{len(comparison.variants)} variants"


def _write(contents: Contents, out: Path) -> Report:
    """The files; the page and the text come last, so that what they name is there."""
    blocks = document(contents)
    plots = tuple(write_picture(out / PLOTS, picture) for picture in contents.pictures)
    table = out / "table.csv" if contents.evidence else None
    if table is not None and contents.evidence is not None:
        write_whole(table, csv_table(contents.evidence).encode())
        write_variant_curves(contents.evidence.comparison, out)
    write_whole(out / "report.html", page(contents.title, blocks).encode())
    write_whole(out / "report.md", markdown(blocks).encode())
    return Report(
        evidence=contents.evidence,
        unfinished=contents.unfinished,
        markdown=out / "report.md",
        page=out / "report.html",
        table=table,
        plots=plots,
    )


def _write_overview(overview: Overview, out: Path, console: Console | None) -> Report:
    """The files of an overview, which have the names of any report."""
    figure, table = overview_figure(overview), overview_cells(overview)
    blocks = overview_document(overview, table, figure)
    try:
        plot = write_picture(out / PLOTS, figure)
        write_whole(out / "table.csv", overview_csv(overview).encode())
        write_whole(out / "report.html", page(overview.title, blocks).encode())
        write_whole(out / "report.md", markdown(blocks).encode())
    except OSError as error:
        print_overview(None, overview.title, table, console)
        raise _elsewhere(error) from None
    made = Report(
        evidence=None,
        unfinished=(),
        markdown=out / "report.md",
        page=out / "report.html",
        table=out / "table.csv",
        plots=(plot,),
    )
    print_overview(made, overview.title, table, console)
    return made


def write_picture(folder: Path, picture: Picture) -> Path:
    """Both forms of a picture; the path of the PNG."""
    write_whole(folder / f"{picture.name}.svg", picture.svg)
    write_whole(folder / f"{picture.name}.png", picture.png)
    return folder / f"{picture.name}.png"


def write_whole(path: Path, content: bytes) -> None:
    """Gives `path` this content at once; what stood there stays when the disk refuses. Raises OSError."""
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with naming(path):
            partial.write_bytes(content)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
