"""One table of a comparison for the terminal, and one as CSV for whoever wants to compute on.

The terminal's is rounded for reading and fits into 80 columns; the CSV holds one row a variant with the whole
numbers and plain column names. The report's own tables are in `sections.py`.
"""

import csv
import io
from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from deepseek_lab.report.comparison import Comparison, Variant
from deepseek_lab.report.document import Cells
from deepseek_lab.report.findings import Evidence
from deepseek_lab.report.runs import Run

NOTHING = "–"
"""The cell of a value that is not known or has no meaning in its row."""

BITS = "val/bits_per_byte"


def mean_of(variant: Variant, value: Callable[[Run], float | None]) -> float | None:
    """The mean over a variant's runs of what is known of `value`; None when it is known of none."""
    known = [number for number in map(value, variant.runs) if number is not None]
    return fmean(known) if known else None


def parameters(run: Run) -> str:
    """`1.06M`, or `3.10M / 1.20M` (total, active) when a token does not meet them all."""
    total = short(run.total_params)
    return total if run.active_params == run.total_params else f"{total} / {short(run.active_params)}"


def short(number: float) -> str:
    """A count with three digits and K, M or B."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g}{letter}" if number / size >= 100 else f"{number / size:.2f}{letter}"
    return f"{number:.0f}"


def minus(text: str) -> str:
    """A number with the sign that is as wide as a plus."""
    return text.replace("-", "−")


def difference(evidence: Evidence, variant: Variant) -> str:
    """`−0.053 beyond`: bits per byte against the baseline, beyond or within what may be chance.

    What may be chance is said by the interval, or by the spread of the baseline's seeds where there is none.
    """
    comparison = evidence.comparison
    if variant is comparison.baseline:
        return "baseline"
    finding = evidence.find(BITS, variant)
    interval = finding.interval if finding else None
    exceeds = interval.excludes_zero if interval else comparison.exceeds_spread(variant)
    word = "" if exceeds is None else " beyond" if exceeds else " within"
    return or_nothing(comparison.difference(variant), lambda value: minus(f"{value:+.3f}") + word)


def or_nothing(value: float | None, spell: Callable[[float], str]) -> str:
    return NOTHING if value is None else spell(value)


def trigrams(comparison: Comparison) -> list[float]:
    """The distinct scores of the add-one trigram, one a data set."""
    known = {run.trigram_bits_per_byte for variant in comparison.variants for run in variant.runs}
    return sorted(value for value in known if value is not None)


def cells(evidence: Evidence) -> Cells:
    """The table for reading; the trigram stands in the last row."""
    comparison = evidence.comparison
    some_idle = any(v.runs[0].active_params != v.runs[0].total_params for v in comparison.variants)
    heads = (
        *(comparison.axis, "seeds", "val loss", "bits per byte", "difference"),
        "params / active" if some_idle else "params",
        *("KV bytes per token", "tokens per second", "min"),
    )
    rows = [_row(evidence, variant) for variant in comparison.variants]
    for value in trigrams(comparison):
        rows.append(("add-one trigram", NOTHING, NOTHING, f"{value:.3f}", *[NOTHING] * 5))
    return Cells(heads, tuple(rows))


def _row(evidence: Evidence, variant: Variant) -> tuple[str, ...]:
    timed = evidence.comparison.timed
    return (
        variant.label,
        str(len(variant.runs)),
        or_nothing(variant.loss, "{:.3f}".format),
        or_nothing(variant.bits_per_byte, "{:.3f}".format),
        difference(evidence, variant),
        parameters(variant.runs[0]),
        f"{variant.runs[0].kv_cache_bytes_per_token:,.0f}",
        or_nothing(mean_of(variant, lambda run: timed(run, run.tokens_per_second)), lambda v: f"{v:,.0f}"),
        or_nothing(mean_of(variant, lambda run: timed(run, run.seconds)), lambda v: f"{v / 60:.1f}"),
    )


def rich_table(evidence: Evidence, title: str) -> Table:
    """The table for the terminal; its heads take a line a word, so that it fits into 80 columns."""
    content = cells(evidence)
    table = Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    table.add_column(Text(content.heads[0]), overflow="fold", min_width=15)
    for head in content.heads[1:]:
        table.add_column(Text(head.replace(" ", "\n")), justify="right", no_wrap=True)
    for index, row in enumerate(content.rows):
        reference = index >= len(evidence.comparison.variants)
        table.add_row(*map(Text, row), style="dim" if reference else None)
    return table


CSV_HEADS = (
    *("variant", "is_baseline", "seeds", "val_loss", "bits_per_byte", "difference_to_baseline"),
    *("baseline_seed_spread", "exceeds_seed_spread", "total_params", "active_params", "mtp_params"),
    *("kv_cache_bytes_per_token", "tokens", "tokens_per_second", "seconds", "trigram_bits_per_byte"),
    *("flops_per_token", "match", "match_residual"),
)


STATISTICS = ("mean", "sd", "difference", "low", "high", "p", "p_adjusted")
"""What follows the name of each deciding metric: over seeds, and against the baseline over common seeds."""


def csv_table(evidence: Evidence) -> str:
    """One row a variant, not rounded; what is unknown is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    metrics = evidence.question.metrics
    writer.writerow([*CSV_HEADS, *(f"{metric}_{name}" for metric in metrics for name in STATISTICS)])
    for variant in evidence.comparison.variants:
        statistics = (value for metric in metrics for value in _statistics(evidence, metric, variant))
        writer.writerow([*_csv_row(evidence.comparison, variant), *statistics])
    return text.getvalue()


def _csv_row(comparison: Comparison, variant: Variant) -> Sequence[object]:
    run = variant.runs[0]
    return (
        *(variant.label, variant is comparison.baseline, len(variant.runs), variant.loss, variant.bits_per_byte),
        *(comparison.difference(variant), comparison.baseline.spread, comparison.exceeds_spread(variant)),
        *(run.total_params, run.active_params, run.mtp_params, run.kv_cache_bytes_per_token, run.tokens),
        mean_of(variant, lambda run: comparison.timed(run, run.tokens_per_second)),
        mean_of(variant, lambda run: comparison.timed(run, run.seconds)),
        mean_of(variant, lambda run: run.trigram_bits_per_byte),
        *(run.flops_per_token, run.match and run.match.rule, run.match and run.match.residual),
    )


def _statistics(evidence: Evidence, metric: str, variant: Variant) -> Sequence[object]:
    values = list(variant.values(metric).values())
    finding = evidence.find(metric, variant)
    interval = finding.interval if finding else None
    return (
        fmean(values) if values else None,
        stdev(values) if len(values) > 1 else None,
        finding and finding.difference,
        *((interval.low, interval.high, interval.p_value) if interval else (None,) * 3),
        finding and finding.p_adjusted,
    )
