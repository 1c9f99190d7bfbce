"""One figure: validation bits per byte against training tokens, all variants laid over each other.

The left panel shows the whole run, the right one its second half at a scale on which variants differ.
A line is the mean over a variant's seeds at the steps they share; the band around it reaches from the
best to the worst seed. Colours are Okabe and Ito's, told apart with every common colour blindness, and
markers differ as well, for print in grey.

Drawn on a Figure of its own: no window system and no state of pyplot is touched.
"""

import io
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from deepseek_lab.report.comparison import Comparison, Variant
from deepseek_lab.report.table import trigrams

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
GREY = "#767676"
TRIGRAM = "add-one trigram of bytes"


@dataclass(frozen=True)
class Line:
    """A variant's curve: at each number of tokens the mean, the least and the largest over seeds."""

    tokens: tuple[float, ...]
    mean: tuple[float, ...]
    least: tuple[float, ...]
    largest: tuple[float, ...]

    def last_half(self) -> "Line":
        """The points from the middle of the run on."""
        start = next((i for i, t in enumerate(self.tokens) if t >= self.tokens[-1] / 2), 0)
        return Line(self.tokens[start:], self.mean[start:], self.least[start:], self.largest[start:])


def line(variant: Variant) -> Line:
    """The curve of a variant over the steps at which all its seeds were validated."""
    at_step: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for run in variant.runs:
        for point in run.curve:
            at_step[point.step].append((point.tokens, point.bits_per_byte))
    shared = [points for _, points in sorted(at_step.items()) if len(points) == len(variant.runs)]
    values = [[bits for _, bits in points] for points in shared]
    return Line(
        tuple(fmean(tokens for tokens, _ in points) for points in shared),
        tuple(map(fmean, values)),
        tuple(map(min, values)),
        tuple(map(max, values)),
    )


def loss_figure(comparison: Comparison, title: str) -> bytes:
    """The figure as a PNG. Variants without a validation are left out."""
    curves = [(variant, line(variant)) for variant in comparison.variants]
    curves = [(variant, curve) for variant, curve in curves if curve.tokens]
    zoomed = any(len(curve.last_half().tokens) > 2 for _, curve in curves)
    width = 10.0 if zoomed else 6.5
    names = [_name(variant) for variant, _ in curves] + [TRIGRAM]
    columns = _columns(names, width)
    height = 4.5 + 0.25 * math.ceil(len(names) / columns)
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2 if zoomed else 1, squeeze=False)[0]
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    _panel(panels[0], curves, trigrams(comparison), "Whole run" if zoomed else "")
    panels[0].set_ylabel("validation bits per byte (lower is better)")
    panels[0].set_xlim(left=0)
    if zoomed:
        _panel(panels[1], [(v, c.last_half()) for v, c in curves], [], _enlarged(curves))
        _inside(panels[1], trigrams(comparison))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return _png(figure)


def _name(variant: Variant) -> str:
    """A line's name in the legend."""
    label = variant.label if len(variant.label) <= 60 else variant.label[:59] + "…"
    return f"{label} ({len(variant.runs)} seeds)" if len(variant.runs) > 1 else label


def _columns(names: Sequence[str], width: float) -> int:
    """How many of the names stand side by side in a legend of this width in inches."""
    inches = 0.7 + 0.085 * max(map(len, names))
    return max(1, min(len(names), int(width / inches)))


def _enlarged(curves: Sequence[tuple[Variant, Line]]) -> str:
    several = any(len(variant.runs) > 1 for variant, _ in curves)
    return "Second half, enlarged" + ("; bands from best to worst seed" if several else "")


def _panel(panel: Any, curves: Sequence[tuple[Variant, Line]], references: Sequence[float], title: str) -> None:
    """Draws every curve, and the trigram's level, on one pair of axes."""
    for index, (variant, curve) in enumerate(curves):
        colour = OKABE_ITO[index % len(OKABE_ITO)]
        panel.plot(
            *(curve.tokens, curve.mean, DASHES[index // len(OKABE_ITO) % len(DASHES)]),
            **{"color": colour, "marker": MARKERS[index % len(MARKERS)], "markersize": 4, "linewidth": 1.6},
            label=_name(variant),
        )
        if len(variant.runs) > 1:
            panel.fill_between(curve.tokens, curve.least, curve.largest, color=colour, alpha=0.18, linewidth=0)
    for value in references:
        panel.axhline(value, color=GREY, linestyle="--", linewidth=1.2, label=TRIGRAM)
    panel.set_title(title, fontsize=10, loc="left", color="#333333")
    panel.set_xlabel("training tokens")
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.xaxis.set_major_locator(MaxNLocator(6))
    panel.grid(color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _inside(panel: Any, references: Sequence[float]) -> None:
    """Draws a reference in the enlarged panel only where it lies in view: it must not set the scale."""
    low, high = panel.get_ylim()
    for value in references:
        if low <= value <= high:
            panel.axhline(value, color=GREY, linestyle="--", linewidth=1.2)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    FigureCanvasAgg(figure).figure.savefig(file, format="png")
    return file.getvalue()
