"""What an answer loses for its length, and which answers teach nothing because they were cut off (DAPO §3.4).

    R_length(y) = 0                                     |y| ≤ L_max - L_cache
                  ((L_max - L_cache) - |y|) / L_cache   up to L_max
                  -1                                    beyond                                  (DAPO eq. 13)

Shapes: B answers, T tokens.
"""

from torch import Tensor


def overlong_penalty(length_B: Tensor, longest: int, cache: int) -> Tensor:
    """(B,) R_length, 0 to -1; `longest` is L_max, `cache` is L_cache. Raises ValueError for a cache below 1."""
    if not 1 <= cache <= longest:
        raise ValueError(f"the zone of punishment must lie within the longest answer, not {cache} of {longest}")
    return ((longest - cache - length_B) / cache).clamp(-1.0, 0.0)


def without_truncated(mask_BT: Tensor, truncated_B: Tensor) -> Tensor:
    """The mask without answers that met the length limit: neither praised nor blamed for an end they never had."""
    return mask_BT & ~truncated_B[:, None]
