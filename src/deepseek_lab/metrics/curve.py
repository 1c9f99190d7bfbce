"""One row of the table of curves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """One row of the table; `denominator` says what a value is a mean over.

    better: which way is better, `lower` or `higher`; empty where neither is
    """

    name: str
    unit: str
    denominator: str
    meaning: str
    better: str = ""


WINDOW = "the steps since the last row; in a step, "
"""How a denominator begins whose values are means over steps."""
