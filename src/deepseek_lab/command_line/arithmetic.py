"""The two sums that a config may need where one value follows from another: `${quotient:1024,${data.seq_len}}`.

An axis of a sweep is one key. Where a second key has to follow it, so that something stays the same (tokens a step,
shares that add up to 1), the file says so by one of these. Left out: everything more, which belongs into code.
"""

from typing import Any


def quotient(whole: Any, part: Any) -> int | str:
    """`whole` / `part` where that is a whole number; else a text that every check of a number refuses by name."""
    if not (_is_whole(whole) and _is_whole(part)) or part < 1 or whole % part:
        return f"{whole} / {part}"
    return int(whole // part)


def rest(*shares: Any) -> float | str:
    """What `shares` leave of 1; a text, which every check of a number refuses, where they are no numbers."""
    if not all(isinstance(share, (int, float)) for share in shares):
        return f"1 - {' - '.join(map(str, shares))}"
    return round(1.0 - float(sum(shares)), 9)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
