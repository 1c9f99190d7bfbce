"""The table and the file of benchmarks whose rows hold seconds of a few contestants, one of them the yardstick.

A result is `{"row": name, "seconds": {contestant: [one a round]}, …}`; whatever else it holds goes to the file alone.
Ratios are taken round by round, see `interleaved`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from deepseek_lab.checkpoint.atomic import write_text_atomically

_DRAWS = 4000


def ratios(seconds: Mapping[str, Sequence[float]], slower: str, faster: str) -> list[float]:
    """How many times `slower` took `faster`'s seconds, round by round."""
    return [a / b for a, b in zip(seconds[slower], seconds[faster], strict=True)]


def interval(values: Sequence[float], share: float = 0.9) -> tuple[float, float]:
    """A bootstrap interval of the median of `values` that holds it with probability `share`."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), (_DRAWS, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), ((1 - share) / 2, (1 + share) / 2))
    return float(low), float(high)


def table(title: str, results: Sequence[dict[str, Any]], base: str) -> Table:
    """One line a row and contestant: milliseconds, and how many times those of `base`, with a 90% interval."""
    made = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in ("row", "contestant", "ms", f"times {base}", "90%"):
        made.add_column(column, justify="left" if column in ("row", "contestant") else "right")
    for result in results:
        names = list(result["seconds"])
        for name in names:
            over = ratios(result["seconds"], name, base)
            low, high = interval(over)
            cells = (f"{median(result['seconds'][name]) * 1e3:,.1f}", f"{median(over):.2f}", f"{low:.2f}–{high:.2f}")
            row = result["row"] if name == names[0] else ""
            made.add_row(row, name, *cells, end_section=name == names[-1])
    return made


def save(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes them as json, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, json.dumps(list(results), indent=1))
