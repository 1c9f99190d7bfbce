"""Which answers each update of an iteration sees: whole groups, in an order of (key, epoch) alone.

With one update an epoch the order is that of the experience: what the first epoch computes of π_old then serves the
others pass by pass.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def update_rows(
    n_groups: int, group_size: int, minibatches: int, epochs: int, key: Sequence[int], device: torch.device
) -> list[Tensor]:
    """The rows of each update, `epochs` times over all; fewer groups than `minibatches` make fewer updates."""
    parts, updates = min(minibatches, n_groups), []
    for epoch in range(epochs):
        order_N = np.arange(n_groups)
        if parts > 1:
            order_N = np.random.default_rng([*key, epoch]).permutation(n_groups)
        for group_N in np.array_split(order_N, parts):
            row_N = (group_N[:, None] * group_size + np.arange(group_size)).reshape(-1)
            updates.append(torch.from_numpy(row_N).to(device))
    return updates
