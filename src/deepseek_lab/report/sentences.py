"""Findings in plain words: what is better by how much, how sure that is, and at what cost.

`mla is 0.8% better in bits per byte than mha at equal parameters, 95% interval 0.3% to 1.3%, with 11% of the KV
cache.` Where no difference is shown the sentence says which one could have been, so that silence is not taken for
equality.
"""

from deepseek_lab.metrics import describe
from deepseek_lab.report.comparison import Variant
from deepseek_lab.report.findings import Evidence, Finding
from deepseek_lab.report.intervals import POWER

SHORT = {"val/bits_per_byte": "bits per byte", "val/loss": "validation loss", "perf/tokens_per_second": "tokens/s"}
EQUAL = {
    "params": "at equal parameters",
    "active_params": "at equal active parameters",
    "flops": "at equal FLOPs per token",
    "kv_cache": "at equal KV cache",
}
"""Rules of `match=` in words."""

LEVEL = 0.05
ALIKE = 0.01
"""Sizes within one per cent of each other are called equal."""


def metric_words(metric: str) -> str:
    """A curve's name as it stands in a sentence."""
    return SHORT.get(metric, f"`{metric}`")


def amount(finding: Finding, value: float) -> str:
    """A difference without its sign: in per cent of the baseline, or in the metric's unit where that is under 0."""
    if finding.scale <= 0:
        return f"{abs(value):.3g} {describe(finding.metric).unit}"
    share = abs(value) / finding.scale
    return f"{share:.2%}" if share < 0.001 else f"{share:.1%}"


def direction(metric: str, value: float) -> str:
    """`better` or `worse`; `higher` or `lower` where neither is better."""
    better = describe(metric).better
    if not better:
        return "higher" if value > 0 else "lower"
    return "better" if (value > 0) == (better == "higher") else "worse"


def against(finding: Finding, value: float) -> str:
    """`0.3% worse`."""
    return f"{amount(finding, value)} {direction(finding.metric, value)}"


def sentence(evidence: Evidence, finding: Finding) -> str:
    """What one finding says."""
    if finding.interval is None:
        return _without_interval(evidence, finding)
    return (_shown if finding.interval.excludes_zero else _not_shown)(evidence, finding)


def _shown(evidence: Evidence, finding: Finding) -> str:
    interval, baseline = finding.interval, evidence.comparison.baseline
    assert interval is not None
    ends = [amount(finding, end) for end in sorted((interval.low, interval.high), key=abs)]
    words = [
        f"{finding.variant.label} is {against(finding, finding.difference)} in {metric_words(finding.metric)} than "
        f"{baseline.label}{_circumstance(finding.variant, baseline)}",
        f"95% interval {ends[0]} to {ends[1]} from {interval.n} seeds",
        *_cache(finding.variant, baseline),
    ]
    doubt = ""
    if finding.p_adjusted is not None and finding.p_adjusted >= LEVEL:
        many = f"Among {evidence.n_compared} comparisons"
        doubt = f" {many} that may still be chance (adjusted p {finding.p_adjusted:.2f})."
    return ", ".join(words) + "." + doubt


def _not_shown(evidence: Evidence, finding: Finding) -> str:
    interval, baseline = finding.interval, evidence.comparison.baseline
    assert interval is not None
    metric, name = metric_words(finding.metric), finding.variant.label
    if interval.half_width == 0:
        return f"{name} and {baseline.label} do not differ in {metric}: all {interval.n} seeds are equal."
    seen = against(finding, finding.difference) + _circumstance(finding.variant, baseline)
    seen = ", ".join([seen, *_cache(finding.variant, baseline)])
    return (
        f"{name}: no difference to {baseline.label} in {metric} can be shown with {interval.n} seeds ({seen}; 95% "
        f"interval from {against(finding, interval.low)} to {against(finding, interval.high)}). The smallest that "
        f"could have been, in {POWER:.0%} of such sweeps, is about {amount(finding, interval.detectable)}."
    )


def _without_interval(evidence: Evidence, finding: Finding) -> str:
    baseline = evidence.comparison.baseline
    words = (
        f"{finding.variant.label} is {against(finding, finding.difference)} in {metric_words(finding.metric)} than "
        f"{baseline.label}{_circumstance(finding.variant, baseline)}"
    )
    words = ", ".join([words, *_cache(finding.variant, baseline)])
    if finding.seeds == 1:
        return f"{words}. They share one seed, which gives no interval: it may be chance."
    return f"{words}. They share no seed, which gives no interval: it may be the seed's."


def _circumstance(variant: Variant, baseline: Variant) -> str:
    """` at equal parameters`, or how far the sizes differ."""
    match = variant.runs[0].match
    if match is not None:
        return f" {EQUAL.get(match.rule, f'at equal {match.rule}')}"
    ours, theirs = variant.runs[0], baseline.runs[0]
    ratio, active = ours.total_params / theirs.total_params, ours.active_params / theirs.active_params
    if abs(ratio - 1) <= ALIKE:
        return " at equal parameters"
    sizes = f"with {abs(ratio - 1):.0%} {'more' if ratio > 1 else 'fewer'} parameters"
    return f" {sizes}, of which equally many are active" if abs(active - 1) <= ALIKE else f" {sizes}"


def _cache(variant: Variant, baseline: Variant) -> list[str]:
    """`with 11% of the KV cache`; nothing where the caches are alike."""
    ratio = variant.runs[0].kv_cache_bytes_per_token / max(baseline.runs[0].kv_cache_bytes_per_token, 1e-9)
    if abs(ratio - 1) <= ALIKE:
        return []
    return [f"with {ratio:.0%} of the KV cache" if ratio < 2 else f"with {ratio:.1f} times the KV cache"]


def on_their_number(evidence: Evidence) -> str | None:
    """How many comparisons were made and what that does; None for one or none."""
    n = evidence.n_compared
    if n < 2:
        return None
    return (
        f"{n} comparisons were made: at 95% each, {n * LEVEL:.1f} of them would be shown by chance alone if nothing "
        "differed. The adjusted p (Holm) takes that into account."
    )
