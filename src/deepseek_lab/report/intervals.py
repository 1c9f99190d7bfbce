"""What a few seeds can show: intervals of paired differences by Student's t, and many of them at once.

Two variants trained from the same seed share their data order and what of the initialisation is alike, so the
difference within a seed varies less than either value does. The interval is that of the mean of these
differences d: mean(d) ± t(n − 1) · s(d) / √n (Student 1908). It holds for differences that are spread roughly
normally; with three seeds nobody can check that, and t(2) = 4.30 makes the price of so few plain.

Pure: numbers in, numbers out. Left out: unpaired tests (Welch) and the bootstrap, which knows no more than the
three values it draws from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import nctdtrinc, stdtr, stdtrit

CONFIDENCE = 0.95
POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean of `n` differences with its interval, in the unit of the differences.

    p_value: two-sided, of the mean being zero
    detectable: the true difference that an experiment like this one would show in `POWER` of all repeats
    """

    n: int
    mean: float
    half_width: float
    p_value: float
    detectable: float

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half_width

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is shown."""
        return abs(self.mean) > self.half_width


def quantile(confidence: float, degrees: int) -> float:
    """Half the width of a two-sided t interval in standard errors; 12.71 for 95% and one degree of freedom."""
    return float(stdtrit(degrees, (1 + confidence) / 2))


def paired_interval(differences: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The interval of the mean difference. Raises ValueError for fewer than two: one value has no spread."""
    n = len(differences)
    if n < 2:
        raise ValueError(f"an interval needs two differences at least, not {n}")
    mean, error = fmean(differences), stdev(differences) / math.sqrt(n)
    critical = quantile(confidence, n - 1)
    return Interval(
        n=n,
        mean=mean,
        half_width=critical * error,
        p_value=_p_value(mean, error, n - 1),
        detectable=float(nctdtrinc(n - 1, 1 - POWER, critical)) * error,
    )


def _p_value(mean: float, error: float, degrees: int) -> float:
    """Two-sided p of Student's t; differences that are all alike leave no doubt either way."""
    if error == 0:
        return float(mean == 0)
    return 2 * float(stdtr(degrees, -abs(mean) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """p adjusted for their number (Holm 1979), in the same order.

    Whatever differences are real, the chance of calling a single one wrongly stays at the level that the adjusted p
    is compared with.
    """
    n, running = len(p_values), 0.0
    adjusted = [0.0] * n
    for rank, index in enumerate(sorted(range(n), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (n - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
