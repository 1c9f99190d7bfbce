"""What a loss costs: bits per byte against KV-cache bytes, training FLOPs and parameters of each variant.

A variant is on the front when no other is both cheaper and better. A bar reaches from the best to the worst seed.
A cost that is the same for all variants gets no figure.
"""

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any

from matplotlib.ticker import EngFormatter, MaxNLocator

from deepseek_lab.report.comparison import Comparison, Variant
from deepseek_lab.report.document import Picture
from deepseek_lab.report.drawing import GREY, new_figure, picture, plain_axes, short_name, style
from deepseek_lab.report.findings import Evidence

Cost = Callable[[Variant], float | None]

COSTS: tuple[tuple[str, str, Cost], ...] = (
    ("kv", "KV cache in bytes per token", lambda variant: variant.runs[0].kv_cache_bytes_per_token),
    ("flops", "training FLOPs per token", lambda variant: variant.runs[0].flops_per_token),
)
SAME = 1.01
"""Costs within one per cent of each other are the same."""


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both, cheapest first; less is better in both."""
    kept: list[tuple[float, float]] = []
    for point in sorted(points):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    return kept


def pareto_figures(evidence: Evidence) -> Iterator[Picture]:
    """One figure for each cost that differs."""
    for name, label, cost in COSTS:
        measured = [variant for variant in evidence.comparison.variants if variant.bits_per_byte is not None]
        priced = [(variant, value) for variant in measured if (value := cost(variant))]
        costs = [value for _, value in priced]
        if len(costs) > 1 and max(costs) > SAME * min(costs):
            yield _figure(evidence.comparison, priced, name, label)


def _figure(comparison: Comparison, priced: Sequence[tuple[Variant, float]], name: str, label: str) -> Picture:
    figure = new_figure(4.2)
    panel = figure.subplots()
    kept = front([(cost, bits) for variant, cost in priced if (bits := variant.bits_per_byte) is not None])
    panel.plot(*zip(*kept, strict=True), color=GREY, linewidth=1, linestyle="--", drawstyle="steps-post", zorder=1)
    for variant, cost in priced:
        _point(panel, variant, cost, style(comparison, variant))
    plain_axes(panel, f"{label} (lower is cheaper)", "bits per byte (lower is better)")
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.margins(0.16, 0.16)
    what = label.removesuffix(" per token").replace("KV cache in bytes", "KV cache")
    caption = (
        f"Validation bits per byte against {label}; bars from the best to the worst seed. Variants on the dashed line "
        "are beaten by no other in both."
    )
    return picture(figure, f"pareto_{name}", f"Loss against {what}", caption)


def _point(panel: Any, variant: Variant, cost: float, look: dict[str, Any]) -> None:
    """A variant, its seeds' range and its name."""
    values = [run.bits_per_byte for run in variant.runs if run.bits_per_byte is not None]
    bits = fmean(values)
    panel.errorbar(
        *([cost], [bits], [[bits - min(values)], [max(values) - bits]]),
        **{"fmt": look["marker"], "color": look["color"], "markersize": 7, "capsize": 3, "linewidth": 1.4},
    )
    panel.annotate(
        short_name(variant), (cost, bits), xytext=(7, 5), textcoords="offset points", fontsize=10, color="#222222"
    )
