"""A picture of the needle test: the share of needles found, by length of the text and depth of the needle.

Each cell carries its number, so the picture reads without its colours, too.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def needle_figure(found: Mapping[int, Sequence[float]], depths: Sequence[float]) -> bytes:
    """A PNG. `found`: for each length in tokens, the share found at each of `depths` (0 to 1)."""
    share = np.array([found[length] for length in found]).T
    figure = Figure(figsize=(2.6 + 1.0 * len(found), 1.8 + 0.45 * len(depths)), dpi=150, layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(share, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    panel.set_xticks(range(len(found)), [f"{length:,}" for length in found])
    panel.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths])
    panel.set_xlabel("length of the text (tokens)")
    panel.set_ylabel("depth of the needle (0%: beginning)")
    for (row, column), value in np.ndenumerate(share):
        panel.text(column, row, f"{value:.0%}", ha="center", va="center", color="black" if value > 0.55 else "white")
    figure.colorbar(image, label="needles found (share)")
    figure.suptitle("Needle in a haystack", fontsize=11, fontweight="bold", x=0.01, ha="left")
    file = io.BytesIO()
    FigureCanvasAgg(figure).figure.savefig(file, format="png")
    return file.getvalue()
