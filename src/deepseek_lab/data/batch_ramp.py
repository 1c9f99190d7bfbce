"""A batch size that grows over the first steps of a run (DeepSeek-V3 §4.2: 3,072 to 15,360 sequences over 469B tokens).

Step k takes start + unit · floor(N k / R) sequences, at most N units more: a straight line over R steps, cut
into units of gcd(start, end). Start and end are whole micro-batches on every rank, so each size on the way is
too, and the curve depends on neither. How many sequences came before step k is a closed form: a run goes on
at any step without adding up those before it.

Left out: a ramp over tokens (the schedules count steps, too).
"""

from dataclasses import dataclass
from functools import cached_property
from math import gcd

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BatchRamp:
    """Sequences a step: from `start` at step 0 to `end` at step `steps` and after."""

    start: int
    end: int
    steps: int

    @cached_property
    def unit(self) -> int:
        """What the size grows by."""
        return gcd(self.start, self.end)

    @cached_property
    def _grows_at(self) -> NDArray[np.int64]:
        """(N,) the first step of each size after the first: ceil(j R / N) for j = 1 … N."""
        n_units = (self.end - self.start) // self.unit
        return -(-np.arange(1, n_units + 1) * self.steps // max(n_units, 1))

    def size(self, k: int) -> int:
        """Sequences of step `k`."""
        return self.start + self.unit * int(np.searchsorted(self._grows_at, k, side="right"))

    def before(self, k: int) -> int:
        """Sequences of all steps before `k`."""
        return self.start * k + self.unit * int(np.clip(k - self._grows_at, 0, None).sum())
