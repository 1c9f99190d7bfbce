"""Which backend multiplies on this device, decided once and before any compute.

* bf16  native where there are units for it (any NVIDIA card here, some CPUs), else emulated in fp32: a CPU without
        them multiplies bf16 a hundred times slower than fp32
* fp8   native where torch has the scaled product: 1×128 and 128×128 scales on Hopper (compute capability 9.0), one
        scale a row or a tensor from 8.9 on; else emulated

Left out: running natively what the hardware lacks in part (blocks of gradients, 14-bit sums, E5M6 alone aside).
"""

from typing import Literal

import torch

from deepseek_lab.config import ConfigError
from deepseek_lab.precision.recipe import Automatic, BFloat16, Float8, FullPrecision, Recipe

_BF16_UNITS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""Names torch gives to the instructions that multiply bf16: two of x86, two of ARM."""

HOPPER = (9, 0)
FIRST_WITH_FP8 = (8, 9)


def has_bf16_units() -> bool:
    """Whether this CPU multiplies bf16 in hardware."""
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in _BF16_UNITS)


def automatic_name(device_type: str) -> Literal["fp32", "bf16"]:
    """What `precision=auto` stands for on a device: bf16 on an accelerator with units for it, fp32 on a CPU."""
    if device_type == "cuda" and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "fp32" if device_type == "cpu" else "bf16"


def settled(recipe: Recipe | Automatic, device_type: str) -> Recipe:
    """`recipe`, or what an automatic one stands for on a device, with the values of conf/precision/."""
    if not isinstance(recipe, Automatic):
        return recipe
    if automatic_name(device_type) == "fp32":
        return FullPrecision(name="fp32", backend=recipe.backend)
    return BFloat16(name="bf16", backend=recipe.backend, kept_high=list(KEPT_HIGH))


KEPT_HIGH = ("embedding", "head", "router", "join")
"""As in conf/precision/bf16.yaml."""


def backend_of(
    recipe: Recipe, device_type: str, capability: tuple[int, int] | None = None
) -> Literal["native", "emulated"]:
    """What multiplies for this recipe on a device. fp32 is native everywhere.

    capability: of the CUDA device; asked from torch when None. Raises ConfigError where `backend=native` lacks the
    hardware, or where the recipe holds what no hardware does.
    """
    if isinstance(recipe, FullPrecision):
        return "native"
    if recipe.backend == "emulated":
        return "emulated"
    lacking = _lacking(recipe, device_type, capability)
    if lacking and recipe.backend == "native":
        raise ConfigError(f"= native {lacking}; precision.backend=emulated runs on any device", "backend")
    return "emulated" if lacking else "native"


def _lacking(recipe: BFloat16 | Float8, device_type: str, capability: tuple[int, int] | None) -> str | None:
    """Why a recipe cannot run natively, as the end of a sentence; None where it can."""
    if isinstance(recipe, BFloat16):
        lacks = device_type == "cpu" and not has_bf16_units()
        return "needs a GPU or a CPU with bf16 units" if lacks else None
    if recipe.gradient_tile == "128x128" or recipe.accumulator != "fp32":
        return "has no product of gradients in blocks of 128x128 and no 14-bit sums without promotion"
    if device_type != "cuda":
        return f"needs an NVIDIA GPU of compute capability {'9.0' if _is_blocked(recipe) else '8.9'}, not a CPU"
    found = capability or torch.cuda.get_device_capability()
    if _is_blocked(recipe):
        need = None if found == HOPPER else "needs Hopper (compute capability 9.0) for its 1x128 and 128x128 scales"
    else:
        need = None if found >= FIRST_WITH_FP8 else "needs compute capability 8.9"
    return need and f"{need}, and this card has {found[0]}.{found[1]}"


def _is_blocked(recipe: Float8) -> bool:
    return recipe.activation_tile == "1x128"


def surroundings(recipe: Recipe, device_type: str) -> Literal["fp32", "bf16"]:
    """What everything around the quantised products computes in: bf16 where the device has units for it.

    An emulation that was asked for on a CPU stands in fp32: the same numbers on every CPU.
    """
    if isinstance(recipe, FullPrecision) or (device_type == "cpu" and recipe.backend == "emulated"):
        return "fp32"
    return "bf16" if device_type != "cpu" or has_bf16_units() else "fp32"


def peak_format(recipe: Recipe, device_type: str, capability: tuple[int, int] | None = None) -> Literal["fp32", "bf16"]:
    """The format whose peak FLOP/s a run is held against: fp32 for what is emulated in it, else bf16.

    FP8 counts against bf16 too: then MFU compares across recipes, and shows what FP8 wins.
    """
    native = backend_of(recipe, device_type, capability) == "native"
    return "bf16" if native and not isinstance(recipe, FullPrecision) else "fp32"
