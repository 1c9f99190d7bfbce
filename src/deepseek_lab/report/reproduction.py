"""How to make each run of a report again: the state of the source, and the command.

A run whose source is older than that of the newest run is marked: a difference between them may be the source's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from deepseek_lab.report.comparison import Comparison
from deepseek_lab.report.document import Block, Cells, Heading, Paragraph, Verbatim
from deepseek_lab.report.origin import command
from deepseek_lab.report.run_files import DONE
from deepseek_lab.report.runs import Run


def newest(runs: Sequence[Run]) -> Run:
    """The run that was finished last."""
    return max(runs, key=lambda run: (run.folder / DONE).stat().st_mtime_ns)


def older_source(runs: Sequence[Run]) -> list[Run]:
    """The runs that are known to come from another source than the newest."""
    last = newest(runs)
    return [run for run in runs if run.origin.same_source(last.origin) is False or run.origin.mixed]


def source_warnings(runs: Sequence[Run]) -> list[str]:
    """What a reader must know of the sources."""
    warnings = []
    older = older_source(runs)
    if older:
        states = ", ".join(dict.fromkeys(run.origin.words for run in runs))
        warnings.append(
            f"{len(older)} of {len(runs)} runs were made by another state of the source than the newest ({states}): "
            "a difference may be the source's. They are marked under 'Runs'."
        )
    dirty = sum(run.origin.dirty for run in runs)
    if dirty:
        warnings.append(f"{dirty} of {len(runs)} runs were made with changed files, which their commit does not hold.")
    return warnings


def reproduction(comparison: Comparison, root: Path) -> Iterator[Block]:
    """The runs as a table, and a command for each."""
    labelled = [(variant.label, run) for variant in comparison.variants for run in variant.runs]
    runs = [run for _, run in labelled]
    older = {run.folder for run in older_source(runs)}
    yield Heading("Runs")
    rows = [
        (
            *(label, f"`{run.folder.relative_to(root)}`"),
            run.origin.words + (", older source" if run.folder in older else ""),
            *(str(run.seed), f"{run.steps:,}", f"{run.tokens:,}"),
        )
        for label, run in labelled
    ]
    yield Cells(("variant", "run", "source", "seed", "steps", "tokens"), tuple(rows), n_words=3)
    yield Paragraph("A run is made again by its commit (`git checkout COMMIT`) and its command:")
    lines = [f"# {run.folder.relative_to(root)}\n{command(run.overrides)}" for run in runs]
    yield Verbatim("Commands", "\n\n".join(lines))
