"""What a report prints: one table, the findings under it, and where the files are."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from deepseek_lab.advice import typed
from deepseek_lab.report.document import Cells
from deepseek_lab.report.sections import Contents
from deepseek_lab.report.sentences import on_their_number, sentence
from deepseek_lab.report.table import BITS, rich_table

NARROWEST = 100
"""Columns that the table takes where there is no terminal to ask."""


class Written(Protocol):
    """The files of a report."""

    @property
    def markdown(self) -> Path: ...
    @property
    def page(self) -> Path: ...
    @property
    def table(self) -> Path | None: ...
    @property
    def plots(self) -> tuple[Path, ...]: ...


def print_report(
    made: Written | None, contents: Contents, folders: Sequence[Path], console: Console | None = None
) -> None:
    """Prints to `console`; None takes standard output, wide enough for the table where it is no terminal.

    made: None where no file could be written
    """
    console = console or _console()
    if contents.evidence is not None:
        console.print(rich_table(contents.evidence, contents.title))
    for line in _notes(contents):
        console.print(line, highlight=False, markup=False)
    if made is None:
        return
    console.print()
    for line in _places(made, folders):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_overview(made: Written | None, title: str, table: Cells, console: Console | None = None) -> None:
    """Prints the table of several questions and where the files are."""
    console = console or _console()
    shown_table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for index, head in enumerate(table.heads):
        shown_table.add_column(head, justify="left" if index < table.n_words else "right", overflow="fold")
    for row in table.rows:
        shown_table.add_row(*row)
    console.print(shown_table)
    for line in () if made is None else _places(made, ()):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _notes(contents: Contents) -> Iterator[str]:
    """The sentences under the table."""
    evidence = contents.evidence
    if evidence is not None:
        comparison = evidence.comparison
        if len(comparison.variants) > 1:
            yield f"Difference: bits per byte against {comparison.baseline.label}; negative is better."
        for finding in evidence.findings:
            if finding.interval:
                yield sentence(evidence, finding)
        yield from filter(None, [on_their_number(evidence)])
        # The rule of thumb speaks where some difference has no interval to speak for it.
        unsure = [f for f in evidence.findings if f.metric == BITS and f.interval is None]
        if unsure or not evidence.findings:
            yield comparison.verdict
    yield from contents.warnings
    for run in contents.unfinished:
        reason = f" ({run.reason})" if run.reason else ""
        yield f"not finished: {run.folder.relative_to(contents.root)}: {run.progress}{reason}"


def _places(made: Written, folders: Sequence[Path]) -> Iterator[str]:
    for name, path in (("report", made.page), ("text", made.markdown), ("table", made.table)):
        if path is not None:
            yield f"{name + ':':9}{shown(path)}"
    if made.plots:
        yield f"plots:   {shown(made.plots[0].parent)}"
    if len(folders) == 1:
        yield f"curves:  {typed(['tensorboard', '--logdir', shown(folders[0])])}"


def shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path.resolve())


def _console() -> Console:
    """Standard output, wide enough for the table where it is no terminal."""
    console = Console(markup=False, emoji=False)
    return console if console.is_terminal else Console(width=max(NARROWEST, console.width), markup=False, emoji=False)
