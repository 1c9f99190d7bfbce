"""Intervals of shares of questions solved.

`wilson` (Wilson 1927) for a share of independent yes or no, as a majority's verdicts are: it holds for few
questions and for shares of 0 and 1, where the textbook's ± collapses. `bootstrap` (Efron 1979, percentiles) for
a mean of values between, as a question's pass@k is: questions are drawn again, never the attempts of one
question, because those depend on each other. Where all questions have the same value nothing can be drawn that
differs, and the interval is Wilson's.

Pure: numbers in, numbers out.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

CONFIDENCE = 0.95


def wilson(successes: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """(low, high) of the share `successes / n`. Raises ValueError unless n ≥ 1 and 0 ≤ successes ≤ n."""
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no share")
    z, share = float(ndtri((1 + confidence) / 2)), successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(
    values: Sequence[float], confidence: float = CONFIDENCE, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """(low, high) of the mean of values from 0 to 1, one a question; the same for the same seed.

    Raises ValueError without values.
    """
    if not values:
        raise ValueError("no values to draw from")
    if min(values) == max(values):
        return wilson(sum(values), len(values), confidence)
    return _resampled(values, confidence, resamples, seed)


def bootstrap_difference(
    differences: Sequence[float], confidence: float = CONFIDENCE, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """(low, high) of the mean of paired differences, one a question: what two models make of the same questions.

    Where all are alike the interval has no width. Raises ValueError without differences.
    """
    if not differences:
        raise ValueError("no values to draw from")
    return _resampled(differences, confidence, resamples, seed)


def _resampled(values: Sequence[float], confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    """Percentiles of the mean of as many values drawn from `values`."""
    # A resample is a count of how often each distinct value was drawn: memory does not grow with the questions.
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=resamples)
    low, high = np.quantile(drawn @ distinct / len(values), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
