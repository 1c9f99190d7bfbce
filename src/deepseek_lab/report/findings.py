"""What a comparison shows: each variant against the baseline, in each metric that decides.

Runs are paired by seed. Where fewer than two seeds are common there is a difference and no interval. All intervals
of a report count as comparisons made at once, and their p are adjusted for it (Holm).

Pure. The words are in `sentences.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from deepseek_lab.report.comparison import Comparison, Variant
from deepseek_lab.report.intervals import Interval, holm, paired_interval
from deepseek_lab.report.question import Question


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One variant against the baseline in one metric, in the metric's unit.

    difference: variant − baseline, over the seeds both have; over all runs where none is common
    scale: the baseline's mean over the same runs, to say a difference in per cent of it. The interval in per cent
        takes it as known: its own error is a hundredth of a difference of one per cent
    seeds: how many are common
    p_adjusted: p of the interval, adjusted for all comparisons of the report
    """

    metric: str
    variant: Variant
    difference: float
    scale: float
    seeds: int
    interval: Interval | None
    p_adjusted: float | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that figures and sections are made from."""

    question: Question
    comparison: Comparison
    findings: tuple[Finding, ...]

    @property
    def n_compared(self) -> int:
        """The comparisons that have an interval."""
        return sum(finding.interval is not None for finding in self.findings)

    def find(self, metric: str, variant: Variant) -> Finding | None:
        """The finding on one variant; None for the baseline and where a value is missing."""
        return next((f for f in self.findings if f.metric == metric and f.variant is variant), None)


def evidence(comparison: Comparison, question: Question) -> Evidence:
    """Compares every variant with the baseline in every metric of the question."""
    rivals = [variant for variant in comparison.variants if variant is not comparison.baseline]
    found = [_finding(comparison.baseline, rival, metric) for metric in question.metrics for rival in rivals]
    return Evidence(
        question=question, comparison=comparison, findings=_adjusted([finding for finding in found if finding])
    )


def _finding(baseline: Variant, variant: Variant, metric: str) -> Finding | None:
    ours, theirs = variant.values(metric), baseline.values(metric)
    if not ours or not theirs:
        return None
    common = sorted(ours.keys() & theirs.keys())
    differences = [ours[seed] - theirs[seed] for seed in common]
    scale = fmean(theirs[seed] for seed in common or theirs)
    return Finding(
        metric=metric,
        variant=variant,
        difference=fmean(differences) if common else fmean(ours.values()) - scale,
        scale=scale,
        seeds=len(common),
        interval=paired_interval(differences) if len(common) > 1 else None,
    )


def _adjusted(found: Sequence[Finding]) -> tuple[Finding, ...]:
    p_adjusted = iter(holm([finding.interval.p_value for finding in found if finding.interval]))
    return tuple(replace(f, p_adjusted=next(p_adjusted)) if f.interval else f for f in found)
