"""How a run's routers spread their tokens over the experts: one share an expert and layer.

Read from `expert_load.jsonl` (a row a validation). A single step's load is noisy, so the rows of the run's second
half are averaged: what stays uneven there is the router and not the batch.
"""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from deepseek_lab.report.run_files import LOADS, json_rows

_NAME = re.compile(r"moe/layer_(\d+)/load")


def read_loads(folder: Path) -> dict[int, list[float]]:
    """The mean share of each expert by layer, over the second half of the run; empty for a dense one.

    Raises DataError when the file is broken.
    """
    path = folder / LOADS
    if not path.is_file():
        return {}
    rows = json_rows(path, path.read_text(encoding="utf-8"))
    shares: dict[int, list[Any]] = defaultdict(list)
    for row in rows[len(rows) // 2 :]:
        for name, heights in row.items():
            if found := _NAME.fullmatch(name):
                shares[int(found[1])].append(heights)
    return {layer: np.mean(kept, axis=0).tolist() for layer, kept in sorted(shares.items())}
