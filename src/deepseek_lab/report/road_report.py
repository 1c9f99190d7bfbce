"""`report.md`, `report.html` and `plots/` of a pipeline: what each of its stages is good for."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from deepseek_lab.report.document import Block, Bullets, Heading, Paragraph, Picture, Pictures
from deepseek_lab.report.markdown import markdown
from deepseek_lab.report.page import page
from deepseek_lab.report.road import Road, read_road
from deepseek_lab.report.road_arms import compared_pairs
from deepseek_lab.report.road_budgets import budgets, caption
from deepseek_lab.report.road_comparison import joined_tests
from deepseek_lab.report.road_figures import road_figures
from deepseek_lab.report.road_findings import findings
from deepseek_lab.report.road_tables import by_family, costs, gains, results, unfinished
from deepseek_lab.report.road_transcripts import transcripts
from deepseek_lab.report.writing import write_picture, write_whole

DIFFERENCES = (
    "Differences in points on the same questions, with two 95% intervals: over questions by paired bootstrap (each "
    "question's mean over the seeds), over seeds by Student's t."
)


def write_road_report(root: Path) -> Path:
    """Writes the report into the pipeline's folder; the path of the page. Raises DataError, OSError."""
    road = read_road(root)
    pictures = tuple(road_figures(road))
    for picture in pictures:
        write_picture(root / "plots", picture)
    blocks = list(document(road, pictures))
    write_whole(root / "report.html", page(road.title, blocks).encode())
    write_whole(root / "report.md", markdown(blocks).encode())
    return root / "report.html"


def document(road: Road, pictures: Sequence[Picture]) -> Iterator[Block]:
    """The whole report: the answer, its numbers, pictures, what was said, what it cost."""
    yield Heading(road.title, 1)
    missing = list(unfinished(road))
    if missing:
        yield Paragraph(f"Not complete: {', '.join(dict.fromkeys(missing))} are not finished.")
    measured = [test for test in road.tests if any(road.measured(name, test) for name in road.names)]
    equal = budgets(road, measured[0]) if measured else None
    if equal is not None:
        yield Heading("At equal cost")
        yield Paragraph(caption(road, measured[0]))
        yield equal
    said = [line for test in measured[:1] for line in findings(road, test)]
    if said:
        yield Heading("What it shows")
        yield Bullets(tuple(said))
    for test in measured:
        if test not in road.budgets:
            yield from _test(road, test)
    yield from _joined(road)
    if pictures:
        yield Heading("Figures")
        yield Pictures(tuple(pictures))
    if measured:
        yield Heading("Transcripts")
        yield from transcripts(road, measured[0])
    yield Heading("What it cost")
    yield costs(road)
    yield Paragraph(
        "FLOPs are those of training (forward and backward) and of drawing answers (a forward pass a token), "
        "as `planning.counts` has them. Minutes are those of the clock; what else the machine did is in them."
    )


def _test(road: Road, test: str) -> Iterator[Block]:
    yield Heading(f"Results: {test}")
    n_questions = max(len(one.rows) for name in road.names for one in road.measured(name, test))
    seeds = f"{len(road.seeds)} seeds" if len(road.seeds) > 1 else "one seed"
    yield Paragraph(f"{road.tests[test]} {n_questions} questions, {seeds}; 95% intervals.".strip())
    yield results(road, test)
    families, gained = by_family(road, test), gains(road, [test])
    if families is not None:
        yield families
    if gained is not None:
        yield Paragraph(DIFFERENCES)
        yield gained


def _joined(road: Road) -> Iterator[Block]:
    """The comparisons that more than one test of the test split can speak for."""
    groups = dict.fromkeys(tuple(joined_tests(road, *pair)) for pair in compared_pairs(road))
    for tests in groups:
        gained = gains(road, tests) if len(tests) > 1 else None
        if gained is not None:
            yield Heading(f"Results: {' and '.join(tests)} together")
            yield Paragraph(DIFFERENCES)
            yield gained
