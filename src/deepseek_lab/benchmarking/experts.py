"""What choosing experts costs: a mixture beside a dense FFN of equal active FLOPs, and a step with 64 experts or 16.

A layer's row is named by the tokens an expert gets when the load is even. Mixture: router, sorting, grouped products,
sum; dense: one SwiGLU as wide as a token's experts together. Forward and backward with an equal upstream gradient. With
few tokens an expert the weights and their gradients are the traffic, which no kernel spares.

Row `step64`: the whole training step of `training` at 8 x 512 tokens with 64 experts against 16, active FLOPs alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from deepseek_lab.benchmarking import paired
from deepseek_lab.benchmarking.contestants import Step, Workload, our_step
from deepseek_lab.benchmarking.interleaved import time_interleaved
from deepseek_lab.model.ffn.dense import DenseFeedForward
from deepseek_lab.model.ffn.moe import MixtureOfExperts

DIM = 512
MIXTURE, DENSE = "mixture", "dense"
STEP, MANY, FEW = "step64", "64 experts", "16 experts"


@dataclass(frozen=True)
class Layer:
    """A mixture: tokens of a step, routed experts, those that a token goes to, and the width of each."""

    tokens: int
    experts: int
    chosen: int
    width: int

    @property
    def tokens_an_expert(self) -> int:
        """Of an even load."""
        return self.tokens * self.chosen // self.experts


LAYERS = {
    "tokens1024": Layer(4096, 16, 4, 256),
    "tokens512": Layer(4096, 64, 8, 128),
    "tokens256": Layer(4096, 128, 8, 128),
    "tokens32": Layer(512, 128, 8, 128),
}
ROWS = (*LAYERS, STEP)


def layers(shape: Layer) -> dict[str, nn.Module]:
    """The mixture and the dense FFN of one row, weights from seed 0."""
    torch.manual_seed(0)
    mixture = MixtureOfExperts.Config(
        n_routed_experts=shape.experts,
        n_activated_experts=shape.chosen,
        moe_intermediate_size=shape.width,
        n_shared_experts=0,
        n_dense_layers=0,
        intermediate_size=shape.width,
    ).build(DIM, layer_index=0)
    both = {MIXTURE: mixture, DENSE: DenseFeedForward(DIM, shape.chosen * shape.width)}
    for layer in both.values():
        for weight in layer.parameters():
            nn.init.normal_(weight, std=DIM**-0.5)
    return both


def layer_step(layer: nn.Module, x_1ND: Tensor, grad_1ND: Tensor, times: int) -> Step:
    """`times` forward and backward passes of a layer."""

    def step(_: Tensor) -> float:
        for _pass in range(times):
            out = layer(x_1ND)
            y_1ND = out[0] if isinstance(out, tuple) else out
            y_1ND.backward(grad_1ND)
            x_1ND.grad = None
            layer.zero_grad()
        return float(y_1ND.detach()[0, 0, 0])

    return step


def _layer_steps(shape: Layer) -> dict[str, Step]:
    x_1ND, grad_1ND = torch.randn(1, shape.tokens, DIM).requires_grad_(), torch.randn(1, shape.tokens, DIM)
    times = max(1, 2048 // shape.tokens)
    return {name: layer_step(layer, x_1ND, grad_1ND, times) for name, layer in layers(shape).items()}


def measure(name: str, rounds: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of each contestant of a row, ready for json."""
    workload = Workload(name, batch=8, seq_len=512, n_experts=64)
    if name == STEP:
        few = Workload(name, batch=8, seq_len=512, n_experts=16)
        steps = {MANY: our_step(workload)[0], FEW: our_step(few)[0]}
    else:
        steps = _layer_steps(LAYERS[name])
    timings = time_interleaved(steps, workload.tokens_BT1, rounds, report)
    return {"row": name, "rounds": rounds, "seconds": timings.seconds, **timings.machine}


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a row and contestant; a row's last is the yardstick."""
    named = [{**result, "seconds": dict(zip((MIXTURE, DENSE), result["seconds"].values(), strict=True))}
             if result["row"] == STEP else result for result in results]  # fmt: skip
    return paired.table("Experts: forward and backward; step64: 64 experts against 16", named, DENSE)


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes experts.json."""
    paired.save(results, folder / "experts.json")
