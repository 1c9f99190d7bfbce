"""Noise that belongs to a request: one uniform number for each (seed, sample, position), whatever else is decoded.

A counter is hashed (the finaliser of SplitMix64, Steele et al. 2014), so there is no state that a batch could share,
and a token can be drawn again without drawing those before it.
"""

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mixed(x: int) -> int:
    x = (x + _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


DRAW, DRAFT, ACCEPT, INSTEAD = range(4)
"""What a number decides: a token, a draft of it, whether that is kept, and what stands in its place if not."""


def uniform(seed: int, sample: int, position: int, purpose: int = DRAW) -> float:
    """A number in [0, 1) with 53 random bits; `position` counts the new tokens."""
    return (_mixed(_mixed(_mixed(seed & _MASK) ^ sample) ^ (4 * position + purpose)) >> 11) * 2.0**-53
