"""What one layer does to the operands of its three products, and what it saw of them last.

A linear y = x·Wᵀ multiplies three times: y (Fprop), the gradient of x (Dgrad: dy·W) and that of W (Wgrad: dyᵀ·x).
Each contracts another side, and along that side a scale must stand for a whole tile: x and dy are quantised a
second time for Wgrad, in tiles along the tokens (V3 §3.5.2: 1×128 read again as 128×1).

`again` of None means that the same quantised numbers serve both products. `kept` is a format of its own for the
activation that waits for the backward (V3: E5M6 behind attention); both products then start from it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from deepseek_lab.precision.quantise import Quantised, Rounding

KINDS = ("activation", "weight", "gradient")

How = Rounding | None
"""None rounds to bf16."""

Watch = Callable[[str, Tensor, Quantised], None]
"""Takes the kind of an operand, its numbers and their quantised form."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The roundings of one layer's operands. In a product of bf16 all are None."""

    activation: How = None
    activation_again: How = None
    weight: How = None
    weight_again: How = None
    gradient: How = None
    gradient_again: How = None
    kept: How = None


class Operands:
    """The rules of a layer, its name, and the largest magnitudes that its operands had last."""

    def __init__(self, name: str, rules: Rules) -> None:
        self.name = name
        self.rules = rules
        self.amax: dict[str, Tensor] = {}
        self.watch: Watch | None = None

    def note(self, kind: str, x: Tensor, result: Quantised) -> None:
        """Remembers the largest magnitudes, and tells whoever observes the layer."""
        if result.amax is not None:
            self.amax[kind] = result.amax
        if self.watch is not None:
            self.watch(kind, x, result)
