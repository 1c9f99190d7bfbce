"""Sums of a step's values between two logged rows, kept on the device so that no step waits for it.

The sums are part of a checkpoint: a run resumed in the middle of a window logs the same mean as one
that was never stopped. A checkpoint holds the sum over all ranks, so that any number of them can go on.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class Window:
    """Accumulates named scalars over steps; `means` reads and clears them."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Adds one step's values (detached scalars)."""
        for name, value in values.items():
            value = value.detach().double()
            self._sums[name] = value + self._sums[name].to(value.device) if name in self._sums else value
        self._steps += 1

    def means(self, over_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Mean over the steps of the sum over the ranks, in one transfer; the window is empty after it."""
        names = sorted(self._sums)
        sums = over_ranks(torch.stack([self._sums[name] for name in names]))
        means = dict(zip(names, (sums / self._steps).tolist(), strict=True))
        self._sums, self._steps = {}, 0
        return means

    def state_dict(self, over_ranks: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """Plain values: the sums over all ranks and how many steps they hold."""
        names = sorted(self._sums)
        sums = over_ranks(torch.stack([self._sums[name] for name in names])).tolist() if names else []
        return {"steps": self._steps, "sums": dict(zip(names, sums, strict=True))}

    def load_state_dict(self, state: Mapping[str, Any], rank: int) -> None:
        """Goes on from `state_dict`: rank 0 with its sums, the others with none."""
        self._steps = int(state["steps"])
        share = 1.0 if rank == 0 else 0.0
        self._sums = {name: torch.tensor(value * share, dtype=torch.float64) for name, value in state["sums"].items()}
