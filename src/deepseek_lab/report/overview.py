"""Sweeps that ask different questions, in one report: the answers to all of them in one figure and one table.

Each question is answered by itself, in the first of its deciding metrics, and by its own baseline; the adjusted p of
a sentence counts the comparisons of its question. Left out: what one sweep's own report holds.
"""

import csv
import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from deepseek_lab.report.comparison import Variant
from deepseek_lab.report.document import Block, Bullets, Cells, Heading, Paragraph, Picture, Pictures
from deepseek_lab.report.drawing import GREY, MARKERS, OKABE_ITO, new_figure, picture, plain_axes, short_name
from deepseek_lab.report.findings import Evidence, Finding
from deepseek_lab.report.intervals import POWER
from deepseek_lab.report.sections import number
from deepseek_lab.report.sentences import metric_words, sentence
from deepseek_lab.report.table import NOTHING, minus


@dataclass(frozen=True)
class Overview:
    """The evidence and the warnings of each question, and how many runs are not finished."""

    questions: tuple[tuple[Evidence, tuple[str, ...]], ...]
    n_unfinished: int = 0

    @property
    def title(self) -> str:
        """How many questions it answers."""
        return f"{len(self.questions)} questions"


def overview_document(overview: Overview, table: Cells, figure: Picture) -> list[Block]:
    """The figure and the table of all, then each question with its findings in words."""
    blocks: list[Block] = [Heading(overview.title, 1)]
    if overview.n_unfinished:
        blocks.append(Paragraph(f"Not complete; runs that are not finished: {overview.n_unfinished}."))
    blocks += [Pictures((figure,)), table, Paragraph(LEGEND)]
    for evidence, warnings in overview.questions:
        said = [sentence(evidence, finding) for finding in evidence.findings]
        blocks += [Heading(evidence.question.text or evidence.comparison.axis), Bullets((*said, *warnings))]
    return blocks


LEGEND = (
    "Differences are to the baseline of the question, in % of it, paired by seed, with a 95% interval (Student's t). "
    f"Detectable is the true difference that such a sweep would have shown in {POWER:.0%} of all repeats."
)


def _rows(overview: Overview) -> Iterator[tuple[Evidence, str, Variant, Finding | None]]:
    """Each variant of each question, baseline first, with the metric and what was found."""
    for evidence, _ in overview.questions:
        metric, baseline = evidence.question.metrics[0], evidence.comparison.baseline
        others = [variant for variant in evidence.comparison.variants if variant is not baseline]
        for variant in (baseline, *others):
            yield evidence, metric, variant, evidence.find(metric, variant)


def overview_cells(overview: Overview) -> Cells:
    """One row a variant."""
    heads = ("question", "variant", "seeds", "mean", "difference", "95% interval", "detectable")
    rows = []
    for evidence, metric, variant, finding in _rows(overview):
        values = list(variant.values(metric).values())
        is_baseline = variant is evidence.comparison.baseline
        words = (evidence.question.text or "") if is_baseline else ""
        mean = number(fmean(values)) if values else NOTHING
        compared = ("baseline", NOTHING, NOTHING) if is_baseline else _compared(finding)
        rows.append((words, short_name(variant), str(len(values)), mean, *compared))
    return Cells(heads, tuple(rows), n_words=2)


def _compared(finding: Finding | None) -> tuple[str, str, str]:
    if finding is None:
        return NOTHING, NOTHING, NOTHING
    interval, per_cent = finding.interval, 100 / finding.scale
    difference = minus(f"{finding.difference * per_cent:+.1f}%")
    if interval is None:
        return difference, NOTHING, NOTHING
    ends = minus(f"{interval.low * per_cent:+.1f} to {interval.high * per_cent:+.1f}%")
    return difference, ends, f"{interval.detectable * per_cent:.1f}%"


def overview_csv(overview: Overview) -> str:
    """One row a variant, with the whole numbers in the metric's unit."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(("question", "variant", "metric", "seeds", "mean", "difference", "low", "high", "detectable", "p"))
    for evidence, metric, variant, finding in _rows(overview):
        values = list(variant.values(metric).values())
        interval = finding.interval if finding else None
        found = (interval.low, interval.high, interval.detectable, interval.p_value) if interval else ("",) * 4
        mean, difference = fmean(values) if values else "", finding.difference if finding else ""
        writer.writerow((evidence.question.text, variant.label, metric, len(values), mean, difference, *found))
    return file.getvalue()


def overview_figure(overview: Overview) -> Picture:
    """Every difference with its interval, in % of its baseline, under its question."""
    heights = [1 + sum(row[0] is evidence for row in _rows(overview)) for evidence, _ in overview.questions]
    figure = new_figure(1.2 + 0.3 * sum(heights))
    panels = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (evidence, _) in zip(panels, overview.questions, strict=True):
        _draw(panel, evidence)
    metrics = {metric_words(evidence.question.metrics[0]) for evidence, _ in overview.questions}
    panels[-1].set_xlabel(f"difference in {' or '.join(sorted(metrics))} (% of the baseline)", fontsize=10)
    caption = (
        "Each variant against the baseline of its question, paired by seed, with its 95% interval. "
        "Filled where the interval excludes zero: elsewhere no difference is shown."
    )
    return picture(figure, "overview", "What each variant changes", caption)


def _draw(axes: Any, evidence: Evidence) -> None:
    """One question."""
    metric, baseline = evidence.question.metrics[0], evidence.comparison.baseline
    found = [finding for finding in evidence.findings if finding.metric == metric and finding.interval]
    axes.axvline(0, color=GREY, linewidth=1.2)
    for row, finding in enumerate(found):
        interval, per_cent = finding.interval, 100 / finding.scale
        assert interval is not None
        shown = interval.excludes_zero
        axes.errorbar(
            *([interval.mean * per_cent], [row], None, [interval.half_width * per_cent]),
            **{"fmt": MARKERS[0], "color": OKABE_ITO[0] if shown else GREY, "markersize": 6, "capsize": 3},
            markerfacecolor=OKABE_ITO[0] if shown else "white",
        )
    plain_axes(axes, "", "")
    axes.set_yticks(range(len(found)), [short_name(finding.variant) for finding in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    words = f"{evidence.question.text} Against {short_name(baseline)}:"
    axes.set_title(textwrap.fill(words, 48), fontsize=9, loc="left")
