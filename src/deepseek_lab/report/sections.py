"""What a report says, section by section, as blocks that become markdown and a page.

Its order is a reader's: the answer, its numbers, the pictures, what it cost, what is missing, how to make it again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from deepseek_lab.metrics import describe
from deepseek_lab.report.comparison import Comparison, Variant
from deepseek_lab.report.document import Block, Bullets, Cells, Heading, Paragraph, Picture, Pictures, Verbatim
from deepseek_lab.report.findings import Evidence, Finding
from deepseek_lab.report.reproduction import reproduction
from deepseek_lab.report.sentences import metric_words, on_their_number, sentence
from deepseek_lab.report.table import BITS, NOTHING, mean_of, minus, or_nothing, parameters, short, trigrams
from deepseek_lab.report.unfinished import UnfinishedRun


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All that a report is written from; `evidence` is None while no run is finished.

    root: the folder that names of runs are relative to
    """

    title: str
    root: Path
    evidence: Evidence | None
    unfinished: tuple[UnfinishedRun, ...]
    pictures: tuple[Picture, ...]
    warnings: tuple[str, ...]


def document(contents: Contents) -> list[Block]:
    """The whole report."""
    evidence = contents.evidence
    blocks: list[Block] = [Heading(contents.title, 1), *_standing(contents)]
    if evidence is not None:
        blocks += _answer(evidence, contents.warnings)
        blocks += [block for metric in evidence.question.metrics for block in _results(evidence, metric)]
        blocks += [Heading("Figures"), Pictures(contents.pictures)] if contents.pictures else []
        blocks += _costs(evidence)
    blocks += _missing(contents)
    if evidence is not None:
        blocks += reproduction(evidence.comparison, contents.root)
    return blocks


def _standing(contents: Contents) -> Iterator[Block]:
    """The question, and how much of the sweep there is."""
    evidence, missing = contents.evidence, len(contents.unfinished)
    if evidence is not None and evidence.question.text:
        yield Paragraph(evidence.question.text)
    if missing:
        finished = sum(len(v.runs) for v in evidence.comparison.variants) if evidence else 0
        yield Paragraph(f"Not complete: {missing} of {missing + finished} runs are not finished (see below).")


def _answer(evidence: Evidence, warnings: Sequence[str]) -> Iterator[Block]:
    """The findings in words."""
    comparison = evidence.comparison
    yield Heading("What it shows")
    said = [sentence(evidence, finding) for finding in evidence.findings]
    if said:
        yield Bullets(tuple(said))
    number = on_their_number(evidence)
    if number:
        yield Paragraph(number)
    if not evidence.n_compared:
        yield Paragraph(comparison.verdict)
    if warnings:
        yield Heading("What to keep in mind", 3)
        yield Bullets(tuple(warnings))


def _results(evidence: Evidence, metric: str) -> Iterator[Block]:
    """One metric: mean and spread over seeds, and the difference to the baseline."""
    better = describe(metric).better
    unit = describe(metric).unit
    words = metric_words(metric) if metric_words(metric) == unit else f"{metric_words(metric)} ({unit})"
    yield Heading(f"Results: {words}" + (f", {better} is better" if better else ""))
    heads = (evidence.comparison.axis, "seeds", "mean", "standard deviation", "difference", "in %")
    rows = [_result(evidence, metric, variant) for variant in evidence.comparison.variants]
    if metric == BITS:
        trigram = [("add-one trigram of bytes", NOTHING, f"{value:.4f}") for value in trigrams(evidence.comparison)]
        rows += [(*row, *[NOTHING] * 6) for row in trigram]
    yield Cells((*heads, "95% interval", "p", "adjusted p"), tuple(rows))
    yield Paragraph(
        f"Differences are to {evidence.comparison.baseline.label}, over the seeds both have; the interval is Student's "
        "t over these pairs. One seed has no spread. Values are those after the last step, on held-out text."
    )


def number(value: float) -> str:
    """A measured value with four digits or so."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 100 else f"{value:.4f}"


def _result(evidence: Evidence, metric: str, variant: Variant) -> tuple[str, ...]:
    values = list(variant.values(metric).values())
    finding = evidence.find(metric, variant)
    deviation = stdev(values) if len(values) > 1 else None
    measured = (str(len(values)), number(fmean(values)) if values else NOTHING, or_nothing(deviation, number))
    if variant is evidence.comparison.baseline:
        return (variant.label, *measured, "baseline", *[NOTHING] * 4)
    return (variant.label, *measured, *(_difference(finding) if finding else [NOTHING] * 5))


def _difference(finding: Finding) -> tuple[str, ...]:
    interval = finding.interval
    sign = "+" if finding.difference > 0 else ""
    share = f"{finding.difference / finding.scale:+.2%}" if finding.scale > 0 else NOTHING
    ends = f"{number(interval.low)} to {number(interval.high)}" if interval else NOTHING
    return (
        *(minus(sign + number(finding.difference)), minus(share), minus(ends)),
        or_nothing(interval.p_value if interval else None, probability),
        or_nothing(finding.p_adjusted, probability),
    )


def probability(p: float) -> str:
    """A p value with three digits."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _costs(evidence: Evidence) -> Iterator[Block]:
    """Sizes, FLOPs, speed, and how far matching stayed off its target."""
    variants = evidence.comparison.variants
    matched = any(variant.runs[0].match for variant in variants)
    yield Heading("What it costs")
    heads = (evidence.comparison.axis, "parameters (total / active)", "KV bytes per token", "FLOPs per token")
    heads += ("tokens per second", "minutes", *(("matched by", "off target") if matched else ()))
    yield Cells(heads, tuple(_cost(evidence.comparison, variant, matched) for variant in variants))
    yield Paragraph(
        "KV bytes are what the cache keeps of one token; FLOPs are those of training. Speed and minutes are means over "
        "seeds, of training alone, and of runs beside which others kept equally many cores busy."
        + (" Off target is the residual of matching, in % of its target." if matched else "")
    )


def _cost(comparison: Comparison, variant: Variant, matched: bool) -> tuple[str, ...]:
    run = variant.runs[0]
    rule = run.match.rule if run.match else NOTHING
    residual = or_nothing(run.match.residual if run.match else None, lambda v: minus(f"{v:+.2%}"))
    return (
        *(variant.label, parameters(run), f"{run.kv_cache_bytes_per_token:,.0f}"),
        or_nothing(run.flops_per_token, short),
        or_nothing(mean_of(variant, lambda run: comparison.timed(run, run.tokens_per_second)), lambda v: f"{v:,.0f}"),
        or_nothing(
            mean_of(variant, lambda run: comparison.timed(run, run.seconds)),
            lambda v: f"{v / 60:.1f}" if v >= 60 else f"{v / 60:.2f}",
        ),
        *((rule, residual) if matched else ()),
    )


def _missing(contents: Contents) -> Iterator[Block]:
    """Runs that are not finished, the reason of each that failed, and the end of its log."""
    if not contents.unfinished:
        return
    yield Heading("Not finished")
    yield Paragraph("These runs are in no figure above. The same command again runs them, and only them.")
    names = [str(run.folder.relative_to(contents.root)) for run in contents.unfinished]
    rows = [
        (f"`{name}`", STATES[run.state], run.progress, run.reason or NOTHING)
        for name, run in zip(names, contents.unfinished, strict=True)
    ]
    yield Cells(("run", "state", "progress", "reason"), tuple(rows), n_words=4)
    for name, run in zip(names, contents.unfinished, strict=True):
        if run.log:
            yield Verbatim(f"Last lines of the log of `{name}`", "\n".join(run.log))


STATES = {
    "running": "running",
    "failed": "failed",
    "stopped": "stopped",
    "unknown": "still going, stopped or failed",
}
