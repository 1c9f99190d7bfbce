"""A step of each optimiser on the matrices of one small network: AdamW fused, foreach and looped, our Muon, torch's.

Gradients are drawn once and stay; only `step` is timed, with 2-D weights alone, because torch.optim.Muon takes nothing
else. Both Muons do five Newton-Schulz steps; torch's are in bf16, ours in fp32 where bf16 is slow and batched over
matrices of one shape.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from deepseek_lab.benchmarking import paired
from deepseek_lab.benchmarking.interleaved import time_interleaved
from deepseek_lab.optim.muon import Muon

ADAMW, FOREACH, LOOPED = "AdamW, fused", "AdamW, foreach", "AdamW, looped"
MUON, THEIR_MUON = "Muon", "torch.optim.Muon"
ROWS = {"1M": (128, 8), "5M": (256, 10)}
"""Width of the matrices' short side and layers; a layer has 8·width² numbers in matrices."""

_MUON: dict[str, Any] = {
    "lr": 1e-3,
    "weight_decay": 0.1,
    "max_grad_norm": None,
    "momentum": 0.95,
    "nesterov": True,
    "newton_schulz_steps": 5,
    "adamw_parts": [],
    "stacked": {},
    "betas": [0.9, 0.95],
    "eps": 1e-8,
    "fused": True,
}


class Matrices(nn.Module):
    """The 2-D weights of `n_layers` blocks of a width, with gradients; nothing runs through them."""

    def __init__(self, width: int, n_layers: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        shapes = [(width, width), (width, width), (3 * width, width), (width, 3 * width)] * n_layers
        self.weights = nn.ParameterList(nn.Parameter(0.02 * torch.randn(shape)) for shape in shapes)
        for weight in self.weights:
            weight.grad = torch.randn_like(weight)


def optimizers(width: int, n_layers: int) -> dict[str, torch.optim.Optimizer]:
    """Each with weights of its own."""
    made: dict[str, torch.optim.Optimizer] = {}
    for name, options in ((ADAMW, {"fused": True}), (FOREACH, {"foreach": True}), (LOOPED, {"foreach": False})):
        made[name] = torch.optim.AdamW(Matrices(width, n_layers).parameters(), lr=1e-3, **options)  # type: ignore[arg-type]
    made[MUON] = Muon.Config(**_MUON).build(Matrices(width, n_layers))
    made[THEIR_MUON] = torch.optim.Muon(Matrices(width, n_layers).parameters(), lr=1e-3, adjust_lr_fn="match_rms_adamw")
    return made


def step(optimizer: torch.optim.Optimizer, _: Tensor) -> float:
    """One update of all weights."""
    optimizer.step()
    return float(optimizer.param_groups[0]["params"][0].detach()[0, 0])


def measure(name: str, rounds: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of a step of each, ready for json."""
    steps = {who: partial(step, optimizer) for who, optimizer in optimizers(*ROWS[name]).items()}
    timings = time_interleaved(steps, torch.tensor, rounds, report)
    return {"row": name, "rounds": rounds, "seconds": timings.seconds, **timings.machine}


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a row and optimiser."""
    return paired.table("A step of the optimiser", results, ADAMW)


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes optimizers.json."""
    paired.save(results, folder / "optimizers.json")
