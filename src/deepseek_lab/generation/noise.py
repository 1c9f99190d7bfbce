"""Noise that belongs to a request: one uniform number for each (seed, sample, position), whatever else is decoded.

A counter is hashed (the finaliser of SplitMix64, Steele et al. 2014), so there is no state that a batch could share,
and a token can be drawn again without drawing those before it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Counter = tuple[int, int, int]
"""(seed, sample, position); the position counts the new tokens."""

DRAW, DRAFT, ACCEPT, INSTEAD = range(4)
"""What a number decides: a token, a draft of it, whether that is kept, and what stands in its place if not."""

_MASK = (1 << 64) - 1
_GOLDEN, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_SHIFTS = tuple(np.uint64(n) for n in (30, 27, 31, 11))
_Words = npt.NDArray[np.uint64]


def uniforms(counters: Sequence[Counter], purpose: int | Sequence[int] = DRAW) -> npt.NDArray[np.float64]:
    """A number in [0, 1) with 53 random bits for each counter; `purpose` of all or of each."""
    words = np.array([(seed & _MASK, sample, position) for seed, sample, position in counters], dtype=np.uint64)
    seed, sample, position = words.reshape(-1, 3).T
    place = position * np.uint64(4) + np.asarray(purpose, dtype=np.uint64)
    bits: _Words = _mixed(_mixed(_mixed(seed) ^ sample) ^ place) >> _SHIFTS[3]
    return bits.astype(np.float64) * 2.0**-53


def uniform(seed: int, sample: int, position: int, purpose: int = DRAW) -> float:
    """The number of one counter."""
    return float(uniforms([(seed, sample, position)], purpose)[0])


def _mixed(x: _Words) -> _Words:
    x = x + _GOLDEN
    x = (x ^ (x >> _SHIFTS[0])) * _FIRST
    x = (x ^ (x >> _SHIFTS[1])) * _SECOND
    return x ^ (x >> _SHIFTS[2])
