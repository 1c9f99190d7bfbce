"""What quantisation did to the operands of a step: how much became zero, how large they were, which scales.

An operand that is flushed to zero is lost to a product, whatever its neighbours do; a Frobenius norm hardly sees
it. So the share of non-zero numbers that became zero is counted for each kind of operand, over both of its
quantisations (along the channels and along the tokens) and all layers. One layer is multiplied again with
operands in bf16, and the distance of the two results taken.

Observing costs a few passes over every operand: a callback does it in some steps only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from deepseek_lab.precision.grouped import RoundedGroupedMatmul
from deepseek_lab.precision.linear import RoundedLinear
from deepseek_lab.precision.nonlinearity import CachedNonlinearity
from deepseek_lab.precision.operands import KINDS, Operands
from deepseek_lab.precision.quantise import Quantised, to_bfloat16

LOWEST_EXPONENT = -64
"""Scales are counted by their power of two from here on."""

N_EXPONENTS = 80


def quantised_modules(model: nn.Module) -> list[RoundedLinear | RoundedGroupedMatmul]:
    """The linears and grouped products that multiply rounded operands, in the order of the model."""
    return [module for module in model.modules() if isinstance(module, (RoundedLinear, RoundedGroupedMatmul))]


def observed_operands(model: nn.Module) -> list[Operands]:
    """The operands of every product and cached nonlinearity."""
    cached = [module.operands for module in model.modules() if isinstance(module, CachedNonlinearity)]
    return [*(module.layer.operands for module in quantised_modules(model)), *cached]


def non_finite_operand(model: nn.Module) -> str | None:
    """The operand that held a NaN or infinity when last quantised, the first in a step's order; None if none did."""
    layers = observed_operands(model)
    for kind, in_order in (("weight", layers), ("activation", layers), ("gradient", layers[::-1])):
        for operands in in_order:
            amax = operands.amax.get(kind)
            if amax is not None and not bool(amax.isfinite().all()):
                return f"{kind} of {operands.name}"
    return None


class Observation:
    """Sums over the operands of one step, by kind."""

    def __init__(self) -> None:
        self.nonzero = dict.fromkeys(KINDS, 0)
        self.flushed = dict.fromkeys(KINDS, 0)
        self.amax = dict.fromkeys(KINDS, 0.0)
        self.scales = {kind: torch.zeros(N_EXPONENTS) for kind in KINDS}
        self.relative_error: float | None = None

    def note(self, kind: str, x: Tensor, result: Quantised) -> None:
        """Counts one quantisation."""
        if result.scale is None or result.amax is None:
            return
        values = result.values[..., : x.shape[-2], : x.shape[-1]]
        nonzero = x != 0
        self.nonzero[kind] += int(nonzero.sum())
        self.flushed[kind] += int((nonzero & (values.to(x.dtype) == 0)).sum())
        self.amax[kind] = max(self.amax[kind], float(result.amax.max()))
        exponents = result.scale.log2().floor().flatten() - LOWEST_EXPONENT
        counts = torch.bincount(exponents.clamp(0, N_EXPONENTS - 1).long(), minlength=N_EXPONENTS)
        self.scales[kind] += counts.cpu()

    def underflow_share(self, kind: str) -> float:
        """The share of the non-zero numbers of a kind that became zero."""
        return self.flushed[kind] / max(self.nonzero[kind], 1)

    def compare(self, layer: RoundedLinear, inputs: Any, output: Tensor) -> None:
        """‖y - y_bf16‖ / ‖y_bf16‖ of a linear's result."""
        with torch.no_grad(), torch.autocast(output.device.type, enabled=False):
            x, weight = (to_bfloat16(t.detach()).values for t in (inputs[0], layer.weight))
            expected = nn.functional.linear(x, weight)
            bias = 0.0 if layer.bias is None else layer.bias
            error = (output.detach().float() - bias - expected).norm() / expected.norm().clamp_min(1e-30)
        self.relative_error = float(error)


def sampled_layer(model: nn.Module) -> tuple[str, RoundedLinear] | None:
    """The linear in the middle of the model, whose error is followed."""
    linears = [(name, module) for name, module in model.named_modules() if isinstance(module, RoundedLinear)]
    return linears[len(linears) // 2] if linears else None


@contextmanager
def observing(model: nn.Module) -> Iterator[Observation]:
    """Observes every quantised layer of `model` inside the block."""
    observation, sampled = Observation(), sampled_layer(model)
    layers = observed_operands(model)
    for operands in layers:
        operands.watch = observation.note
    compare: Any = observation.compare
    hook = sampled[1].register_forward_hook(compare) if sampled else None
    try:
        yield observation
    finally:
        for operands in layers:
            operands.watch = None
        if hook:
            hook.remove()
