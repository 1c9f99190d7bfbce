"""The number format of a run, and the one place where it meets a model.

* fp32   weights, products and sums in fp32
* bf16   products in bf16 under autocast; weights, gradients, optimiser state, norms, softmax, router
         scores and the loss stay in fp32, as in DeepSeek-V3 §3.3 for what it keeps high

Both keep fp32 master weights and replace no module. A recipe that multiplies in a narrower format
replaces `nn.Linear` and `seams.GroupedMatmul` here, leaving embedding, head, router and norms alone.

Left out: bf16 master weights, in which small updates are lost to rounding.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from deepseek_lab.config import CheckedConfig

_BF16_UNITS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""Names torch gives to the instructions that multiply bf16: two of x86, two of ARM."""


@dataclass(frozen=True, kw_only=True)
class Recipe(CheckedConfig):
    """What the products of a run are computed in."""

    name: Literal["fp32", "bf16"]

    @property
    def lightning(self) -> Literal["32-true", "bf16-mixed"]:
        """The `precision` that Lightning's Trainer takes for this recipe."""
        return "32-true" if self.name == "fp32" else "bf16-mixed"


def apply(model: nn.Module, recipe: Recipe) -> None:
    """Puts a built model into the recipe's format, in place, names kept; call it before the optimiser is made.

    For fp32 and bf16: floating-point parameters and buffers become fp32 (a model read from a bf16
    checkpoint is widened).
    """
    model.float()


def has_bf16_units() -> bool:
    """Whether this CPU multiplies bf16 in hardware."""
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in _BF16_UNITS)


def warn_if_slow(recipe: Recipe, device_type: str) -> str | None:
    """One line when the recipe is slower than fp32 on this machine, else None."""
    if recipe.name == "bf16" and device_type == "cpu" and not has_bf16_units():
        return "precision=bf16 on a CPU without bf16 units runs about 6 times slower than precision=fp32"
    return None
