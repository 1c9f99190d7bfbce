"""The number format of a run as data: what is rounded, how, and what stays high.

* Automatic      one of the next two, by the device
* FullPrecision  weights, products and sums in fp32
* BFloat16       products of bf16 numbers, sums in fp32
* Float8         products of e4m3 numbers with scales, after DeepSeek-V3 §3.3, and the plainer schemes it is
                 compared with (one scale a row or a tensor; blocks of activation gradients, appendix B.2)

In all of them weights, gradients and the optimiser's state are fp32 unless the recipe says otherwise, and the
attention itself, norms, softmax, router scores and the loss are never quantised. `rules` says what a recipe means for a
layer, `applying` lays it over a built model, from outside: the model names no format.

Left out: fp16, whose range ends at 65,504, so that it needs loss scaling; no DeepSeek model used it.
"""

from dataclasses import dataclass
from typing import Literal

from deepseek_lab.config import CheckedConfig, ConfigError

BackendName = Literal["auto", "native", "emulated"]
Operand = Literal["attention_output", "expert_input", "expert_down_gradient"]

TOGETHER = [
    {"activation": "1x128", "weight": "128x128", "gradient": "1x128"},
    {"activation": "1x128", "weight": "128x128", "gradient": "128x128"},
    {"activation": "row", "weight": "row", "gradient": "row"},
    {"activation": "tensor", "weight": "tensor", "gradient": "tensor"},
]
"""The tiles that can be multiplied with each other in all three products."""


@dataclass(frozen=True, kw_only=True)
class FullPrecision(CheckedConfig):
    """Everything in fp32. It has but one backend; the field is there so that a sweep can set it for all recipes."""

    name: str
    backend: BackendName = "auto"


@dataclass(frozen=True, kw_only=True)
class BFloat16(CheckedConfig):
    """Products of bf16. kept_high: parts of names that the emulation leaves in fp32, as the FP8 recipes do."""

    name: str
    backend: BackendName
    kept_high: list[str]


@dataclass(frozen=True, kw_only=True)
class Float8(CheckedConfig):
    """Scaled products of FP8. The defaults of conf/precision/fp8.yaml are DeepSeek-V3's."""

    name: str
    backend: BackendName
    kept_high: list[str]
    activation_tile: Literal["1x128", "row", "tensor"]
    weight_tile: Literal["128x128", "row", "tensor"]
    gradient_tile: Literal["1x128", "128x128", "row", "tensor"]
    gradient_format: Literal["e4m3", "e5m2"]
    scale_format: Literal["fp32", "ue8m0"]
    power_of_two: list[Operand]
    attention_output_format: Literal["e4m3", "e5m6"]
    smallest_amax: float
    cache_swiglu_input: bool
    accumulator: Literal["fp32", "14_bit", "14_bit_promoted"]
    master_weights: Literal["fp32", "bf16"]
    observe_every: int

    def check(self) -> None:
        """Raises ConfigError for tiles that no product takes together."""
        tiles = {"activation": self.activation_tile, "weight": self.weight_tile, "gradient": self.gradient_tile}
        if tiles not in TOGETHER:
            partners = sorted({t["gradient"] for t in TOGETHER if t["activation"] == self.activation_tile})
            weight = next(t["weight"] for t in TOGETHER if t["activation"] == self.activation_tile)
            raise ConfigError(
                f"= {self.activation_tile} goes with weight_tile={weight} and gradient_tile={' or '.join(partners)}",
                "activation_tile",
            )
        self.require_positive("observe_every")
        if not 0 < self.smallest_amax < 1:
            raise ConfigError(f"must be above 0 and under 1, not {self.smallest_amax}", "smallest_amax")


@dataclass(frozen=True, kw_only=True)
class Automatic(CheckedConfig):
    """The wish for bf16 where it is quick, else fp32; `selection.settled` makes a recipe of it before anything runs."""

    name: str
    backend: BackendName = "auto"


Recipe = FullPrecision | BFloat16 | Float8
