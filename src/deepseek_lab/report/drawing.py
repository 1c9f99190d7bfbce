"""The look of every figure of a report, and the way from a drawing to a picture in both its forms.

Colours are Okabe and Ito's, told apart with every common colour blindness; markers and dashes differ as well, for
print in grey. A figure is narrow with large letters, so that it reads on a phone too.

Drawn on a Figure of its own: no window system and no state of pyplot is touched.
"""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from deepseek_lab.report.comparison import Comparison, Variant
from deepseek_lab.report.document import Picture

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
GREY = "#6b6b6b"
WIDTH = 5.6
"""Inches; 400 points on a page, 345 on a phone."""

LONGEST_NAME = 44


def style(comparison: Comparison, variant: Variant) -> dict[str, Any]:
    """Colour, marker and dash of a variant, the same in every figure."""
    index = comparison.variants.index(variant)
    return {
        "color": OKABE_ITO[index % len(OKABE_ITO)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index // len(OKABE_ITO) % len(DASHES)],
    }


def short_name(variant: Variant) -> str:
    """A variant's name where there is little room."""
    return variant.label if len(variant.label) <= LONGEST_NAME else variant.label[: LONGEST_NAME - 1] + "…"


def new_figure(height: float) -> Figure:
    """An empty figure of the report's width; `height` in inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def plain_axes(panel: Any, x: str, y: str) -> None:
    """Labels with their units, a light grid, no box."""
    panel.set_xlabel(x, fontsize=11)
    panel.set_ylabel(y, fontsize=11)
    panel.tick_params(labelsize=10)
    panel.grid(color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def columns(names: Sequence[str]) -> int:
    """How many names stand side by side in a legend."""
    inches = 0.6 + 0.09 * max(map(len, names))
    return max(1, min(len(names), int(WIDTH / inches)))


def picture(figure: Figure, name: str, title: str, caption: str) -> Picture:
    """Both forms of a figure; the same drawing gives the same bytes."""
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        svg = _saved(figure, format="svg", metadata={"Date": None})
    return Picture(name, caption, svg, _saved(figure, format="png", dpi=150))


def _saved(figure: Figure, **how: Any) -> bytes:
    file = io.BytesIO()
    FigureCanvasAgg(figure).figure.savefig(file, **how)
    return file.getvalue()
