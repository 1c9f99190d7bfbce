"""Validation bits per byte while training, all variants laid over each other: against tokens, FLOPs and seconds.

The first figure shows whole runs; the others show their second halves, at a scale on which variants differ. A line
is the mean over a variant's seeds at the steps they share; the band around it reaches from the best to the worst
seed. FLOPs are tokens times the training FLOPs of one; seconds are those of training.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from matplotlib.ticker import EngFormatter, MaxNLocator

from deepseek_lab.report.comparison import Comparison, Variant
from deepseek_lab.report.curve import Point
from deepseek_lab.report.document import Picture
from deepseek_lab.report.drawing import GREY, columns, new_figure, picture, plain_axes, short_name, style
from deepseek_lab.report.findings import Evidence
from deepseek_lab.report.runs import Run
from deepseek_lab.report.table import trigrams

TRIGRAM = "add-one trigram of bytes"
BITS = "validation bits per byte"
Measure = Callable[[Run, Point], float | None]


@dataclass(frozen=True)
class Line:
    """A variant's curve: at each place on the axis the mean, the least and the largest over seeds."""

    places: tuple[float, ...]
    mean: tuple[float, ...]
    least: tuple[float, ...]
    largest: tuple[float, ...]

    def last_half(self) -> "Line":
        """The points from the middle of the run on."""
        start = next((i for i, place in enumerate(self.places) if place >= self.places[-1] / 2), 0)
        return Line(self.places[start:], self.mean[start:], self.least[start:], self.largest[start:])


@dataclass(frozen=True)
class Axis:
    """What the curves are drawn against."""

    name: str
    label: str
    measure: Measure


AXES = (
    Axis("tokens", "training tokens", lambda run, point: point.tokens),
    Axis("flops", "training FLOPs", lambda run, point: run.flops_per_token and run.flops_per_token * point.tokens),
    Axis("seconds", "seconds of training", lambda run, point: point.seconds),
)


def line(variant: Variant, measure: Measure) -> Line:
    """The curve of a variant over the steps at which all its seeds that have a place on the axis were validated."""
    at_step: dict[int, list[tuple[float, float]]] = defaultdict(list)
    placed = [run for run in variant.runs if any(measure(run, point) is not None for point in run.curve)]
    for run in placed:
        for point in run.curve:
            place = measure(run, point)
            if place is not None:
                at_step[point.step].append((place, point.bits_per_byte))
    shared = [points for _, points in sorted(at_step.items()) if len(points) == len(placed)]
    values = [[bits for _, bits in points] for points in shared]
    return Line(
        tuple(fmean(place for place, _ in points) for points in shared),
        tuple(map(fmean, values)),
        tuple(map(min, values)),
        tuple(map(max, values)),
    )


def loss_figures(evidence: Evidence) -> Iterator[Picture]:
    """The whole runs against tokens, then the second halves against each axis that is known."""
    comparison = evidence.comparison
    for index, axis in enumerate((AXES[0], *AXES)):
        if axis.name == "seconds" and comparison.speeds_differ_by_load:
            continue
        curves = [(variant, line(variant, _measure(comparison, axis))) for variant in comparison.variants]
        curves = [(variant, curve) for variant, curve in curves if curve.places]
        measured = any(variant.bits_per_byte is not None for variant in comparison.variants)
        if not curves and not (axis is AXES[0] and measured):
            continue
        if index:
            halves = [(variant, curve.last_half()) for variant, curve in curves]
            if any(len(curve.places) > 2 for _, curve in halves):
                yield _figure(comparison, halves, axis, f"loss_{axis.name}", "second half of each run")
        else:
            yield _figure(comparison, curves, axis, "loss", "whole runs")


def _measure(comparison: Comparison, axis: Axis) -> Measure:
    """Of seconds, those that may be compared."""
    if axis.name != "seconds":
        return axis.measure
    return lambda run, point: comparison.timed(run, axis.measure(run, point))


def _figure(
    comparison: Comparison, curves: Sequence[tuple[Variant, Line]], axis: Axis, name: str, part: str
) -> Picture:
    whole = name == "loss"
    names = [_name(variant) for variant, _ in curves] + ([TRIGRAM] if whole else [])
    beside = columns(names or [""])
    figure = new_figure(3.8 + 0.24 * math.ceil(len(names) / beside))
    panel = figure.subplots()
    for variant, curve in curves:
        _draw(panel, variant, curve, style(comparison, variant))
    _references(panel, trigrams(comparison), whole)
    plain_axes(panel, axis.label, "bits per byte (lower is better)")
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.xaxis.set_major_locator(MaxNLocator(5))
    figure.legend(loc="outside lower center", ncols=beside, frameon=False, fontsize=10)
    bands = "; the band reaches from the best to the worst seed" if any(len(v.runs) > 1 for v, _ in curves) else ""
    caption = f"{BITS.capitalize()} against {axis.label}, {part}: mean over seeds{bands}."
    return picture(figure, name, f"Loss against {axis.label}, {part}", caption)


def _name(variant: Variant) -> str:
    """A line's name in the legend."""
    name = short_name(variant)
    return f"{name} ({len(variant.runs)} seeds)" if len(variant.runs) > 1 else name


def _draw(panel: Any, variant: Variant, curve: Line, look: dict[str, Any]) -> None:
    panel.plot(curve.places, curve.mean, markersize=4, linewidth=1.6, label=_name(variant), **look)
    if len(variant.runs) > 1:
        panel.fill_between(curve.places, curve.least, curve.largest, color=look["color"], alpha=0.18, linewidth=0)


def _references(panel: Any, levels: Sequence[float], whole: bool) -> None:
    """The trigram's level; in an enlarged figure only where it lies in view: it must not set the scale."""
    low, high = panel.get_ylim()
    for level in levels:
        if whole or low <= level <= high:
            panel.axhline(level, color=GREY, linestyle="--", linewidth=1.2, label=TRIGRAM)
