"""The load of every expert as a map, layer by expert: a panel for each variant that is a mixture.

A colour says how often an expert was chosen against an even spread (1). Experts have no order and another one in
each seed, so seeds cannot be averaged: the first seed is shown.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deepseek_lab.report.comparison import Variant
from deepseek_lab.report.document import Picture
from deepseek_lab.report.drawing import new_figure, picture, short_name
from deepseek_lab.report.findings import Evidence
from deepseek_lab.report.loads import read_loads

Loads = dict[int, list[float]]
MOST_NUMBERS = 16
"""Experts side by side that leave room for a number."""

TALLEST = 3.0
"""Inches of one panel, however many layers it has."""


def load_figures(evidence: Evidence) -> Iterator[Picture]:
    """One figure when there is a mixture among the variants."""
    loads = [(variant, read_loads(variant.runs[0].folder)) for variant in evidence.comparison.variants]
    mixtures = [(variant, load) for variant, load in loads if load]
    if not mixtures:
        return
    heights = [0.75 + min(TALLEST, 0.3 * len(load)) for _, load in mixtures]
    figure = new_figure(1.0 + sum(heights))
    panels = figure.subplots(len(mixtures), 1, squeeze=False, height_ratios=heights)[:, 0]
    highest = max(2.0, *(float(np.nanmax(relative(load))) for _, load in mixtures))
    for panel, (variant, load) in zip(panels, mixtures, strict=True):
        image = _map(panel, variant, load, highest)
    panels[-1].set_xlabel("expert", fontsize=11)
    _bar(figure, image, panels)
    seed = mixtures[0][0].runs[0].seed
    caption = (
        f"How often each expert was chosen against an even spread, over the second half of training (seed {seed}). 1 "
        "is even, 0 was never chosen."
    )
    yield picture(figure, "expert_load", "Load of the experts", caption)


def relative(load: Loads) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Layers × experts: each share over the even one; rows with fewer experts end in nothing (NaN)."""
    table = np.full((len(load), max(map(len, load.values()))), np.nan)
    for row, shares in enumerate(load.values()):
        table[row, : len(shares)] = np.array(shares) * len(shares)
    return table


def _map(panel: Any, variant: Variant, load: Loads, highest: float) -> Any:
    table = relative(load)
    image = panel.imshow(table, vmin=0, vmax=highest, cmap="cividis", aspect="auto", interpolation="nearest")
    _numbers(panel, table, highest)
    panel.set_title(short_name(variant), fontsize=10, loc="left")
    layers = list(load)
    step = max(1, len(layers) // 8)
    panel.set_yticks(range(0, len(layers), step), [str(layer) for layer in layers[::step]])
    panel.xaxis.set_major_locator(MaxNLocator(9, integer=True))
    panel.set_ylabel("layer", fontsize=11)
    panel.tick_params(labelsize=10)
    return image


def _numbers(panel: Any, table: np.ndarray[Any, np.dtype[np.float64]], highest: float) -> None:
    """Each cell's number where there is room: then the map reads without its colours, too."""
    if table.shape[1] > MOST_NUMBERS:
        return
    for (row, column), value in np.ndenumerate(table):
        colour = "black" if value > 0.55 * highest else "white"
        panel.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=9, color=colour)


def _bar(figure: Figure, image: Any, panels: Any) -> None:
    """One scale for all panels."""
    bar = figure.colorbar(image, ax=list(panels))
    bar.set_label("load / even load", fontsize=11)
    bar.ax.tick_params(labelsize=10)
