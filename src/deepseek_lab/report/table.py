"""One table of a comparison, in three forms: for the terminal, as markdown and as CSV.

The terminal and markdown hold the same cells, rounded for reading; the CSV holds one row a variant with
the whole numbers and plain column names, for whoever wants to compute on.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from deepseek_lab.report.comparison import Comparison, Variant
from deepseek_lab.report.runs import Run

NOTHING = "–"
"""The cell of a value that is not known or has no meaning in its row."""


@dataclass(frozen=True)
class Cells:
    """A table as text: column heads and rows of equal length."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


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


def difference(comparison: Comparison, variant: Variant) -> str:
    """`−0.053 beyond`: bits per byte against the baseline; beyond or within what its seeds differ."""
    if variant is comparison.baseline:
        return "baseline"
    exceeds = comparison.exceeds_spread(variant)
    word = "" if exceeds is None else " beyond" if exceeds else " within"
    return f"{comparison.difference(variant):+.3f}".replace("-", "−") + word


def _or_nothing(value: float | None, spell: Callable[[float], str]) -> str:
    return NOTHING if value is None else spell(value)


def trigrams(comparison: Comparison) -> list[float]:
    """The distinct scores of the add-one trigram, one a data set."""
    known = {run.trigram_bits_per_byte for variant in comparison.variants for run in variant.runs}
    return sorted(value for value in known if value is not None)


def cells(comparison: Comparison) -> Cells:
    """The table for reading; the trigram stands in the last row."""
    some_idle = any(v.runs[0].active_params != v.runs[0].total_params for v in comparison.variants)
    heads = (
        *(comparison.axis, "seeds", "val loss", "bits per byte", "difference"),
        "params / active" if some_idle else "params",
        *("KV bytes per token", "tokens per second", "min"),
    )
    rows = [_row(comparison, variant) for variant in comparison.variants]
    for value in trigrams(comparison):
        rows.append(("add-one trigram", NOTHING, NOTHING, f"{value:.3f}", *[NOTHING] * 5))
    return Cells(heads, tuple(rows))


def _row(comparison: Comparison, variant: Variant) -> tuple[str, ...]:
    return (
        variant.label,
        str(len(variant.runs)),
        f"{variant.loss:.3f}",
        f"{variant.bits_per_byte:.3f}",
        difference(comparison, variant),
        parameters(variant.runs[0]),
        f"{variant.runs[0].kv_cache_bytes_per_token:,.0f}",
        _or_nothing(mean_of(variant, lambda run: run.tokens_per_second), lambda v: f"{v:,.0f}"),
        _or_nothing(mean_of(variant, lambda run: run.seconds), lambda v: f"{v / 60:.1f}"),
    )


def rich_table(comparison: Comparison, title: str) -> Table:
    """The table for the terminal; its heads take a line a word, so that it fits into 80 columns."""
    content = cells(comparison)
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
        reference = index >= len(comparison.variants)
        table.add_row(*map(Text, row), style="dim" if reference else None)
    return table


def markdown_table(comparison: Comparison) -> str:
    """The same cells as a markdown table."""
    content = cells(comparison)
    rules = [":--", *["--:"] * (len(content.heads) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (content.heads, rules, *content.rows)) + "\n"


CSV_HEADS = (
    *("variant", "is_baseline", "seeds", "val_loss", "bits_per_byte", "difference_to_baseline"),
    *("baseline_seed_spread", "exceeds_seed_spread", "total_params", "active_params", "mtp_params"),
    *("kv_cache_bytes_per_token", "tokens", "tokens_per_second", "seconds", "trigram_bits_per_byte"),
)


def csv_table(comparison: Comparison) -> str:
    """One row a variant, not rounded; what is unknown is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADS)
    writer.writerows(_csv_row(comparison, variant) for variant in comparison.variants)
    return text.getvalue()


def _csv_row(comparison: Comparison, variant: Variant) -> Sequence[object]:
    run = variant.runs[0]
    return (
        *(variant.label, variant is comparison.baseline, len(variant.runs), variant.loss, variant.bits_per_byte),
        *(comparison.difference(variant), comparison.baseline.spread, comparison.exceeds_spread(variant)),
        *(run.total_params, run.active_params, run.mtp_params, run.kv_cache_bytes_per_token, run.tokens),
        mean_of(variant, lambda run: run.tokens_per_second),
        mean_of(variant, lambda run: run.seconds),
        mean_of(variant, lambda run: run.trigram_bits_per_byte),
    )
