"""What emulating a precision costs against fp32: one linear layer, and a whole training step.

The same weights and inputs for every recipe, interleaved; a step is forward, backward, clipping and a fused AdamW,
as a run takes it, and does not count the loading of data. Figures are ratios within one run.

Left out: native FP8 and bf16, whose peak is another machine's.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from deepseek_lab.benchmarking.interleaved import time_interleaved
from deepseek_lab.benchmarking.recompute import VOCABULARY, loss_of, network
from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.experiment.configs import read_configs
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.precision.applying import apply
from deepseek_lab.precision.recipe import FullPrecision, Recipe

LINEARS = {"linear512": (2048, 512, 512), "linear2048": (2048, 512, 2048), "linear4096": (4096, 1024, 4096)}
"""Rows, inputs, outputs."""

STEPS = {"step128": (128, 3, 8), "step256": (256, 6, 4), "step512": (512, 6, 4), "step1024": (1024, 4, 4)}
"""Width, layers and sequences of 512 tokens of a small DeepSeek-V3 (MLA, experts, shared expert)."""

SEQ_LEN = 512


def shipped_recipes() -> list[Recipe]:
    """bf16, fp8 and fp8_tensorwise as conf/ has them, emulated."""
    recipes: list[Recipe] = []
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        for name in ("bf16", "fp8", "fp8_tensorwise"):
            config = composer.compose([f"precision={name}", "precision.backend=emulated"])
            recipes.append(read_configs(task_config(config)).precision)
    return recipes


def linear_step(layer: nn.Module, x_ND: Tensor, grad_NO: Tensor, number: Tensor) -> float:
    """Forward and backward of a layer."""
    y_NO = layer(x_ND)
    y_NO.backward(grad_NO)
    x_ND.grad = None
    layer.zero_grad()
    return float(y_NO.detach()[0, 0])


def training_step(model: Transformer, optimizer: torch.optim.Optimizer, tokens_BT1: Tensor) -> float:
    """Forward, backward, clip, update."""
    loss = loss_of(model, tokens_BT1)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def _linears(name: str, recipes: Sequence[Recipe]) -> dict[str, Callable[[Tensor], float]]:
    n_rows, n_inputs, n_outputs = LINEARS[name]
    x_ND, grad_NO = torch.randn(n_rows, n_inputs).requires_grad_(), torch.randn(n_rows, n_outputs)
    steps: dict[str, Callable[[Tensor], float]] = {}
    for recipe in recipes:
        torch.manual_seed(0)
        layer = nn.Sequential(nn.Linear(n_inputs, n_outputs, bias=False))
        apply(layer, recipe)
        steps[recipe.name] = partial(linear_step, layer, x_ND, grad_NO)
    return steps


def _models(name: str, recipes: Sequence[Recipe]) -> dict[str, Callable[[Tensor], float]]:
    steps: dict[str, Callable[[Tensor], float]] = {}
    for recipe in recipes:
        model = network(*STEPS[name][:2])
        apply(model, recipe)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        steps[recipe.name] = partial(training_step, model, optimizer)
    return steps


def measure(name: str, recipes: Sequence[Recipe], rounds: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of each recipe's steps and their ratios to fp32, ready for json; fp32 is added."""
    everyone = [FullPrecision(name="fp32"), *recipes]
    steps = _linears(name, everyone) if name in LINEARS else _models(name, everyone)

    def tokens_BT1(number: int) -> Tensor:
        generator = torch.Generator().manual_seed(number)
        sequences = STEPS.get(name, (0, 0, 1))[2]
        return torch.randint(VOCABULARY, (sequences, SEQ_LEN + 1), generator=generator)

    timings = time_interleaved(steps, tokens_BT1, rounds, report)
    figures = {
        recipe.name: {"seconds": timings.seconds[recipe.name], "times_fp32": timings.ratios(recipe.name, "fp32")}
        for recipe in everyone
    }
    return {"what": name, "rounds": rounds, "threads": torch.get_num_threads(), "recipes": figures, **timings.machine}


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One row a shape and recipe."""
    made = Table(title="Emulated precision: time of a step over that of fp32")
    for column in ("what", "recipe"):
        made.add_column(column, no_wrap=True)
    for column in ("ms", "median", "lowest", "highest"):
        made.add_column(column, justify="right")
    for result in results:
        for recipe, figures in result["recipes"].items():
            ratios = figures["times_fp32"]
            cells = [f"{median(figures['seconds']) * 1e3:,.1f}"]
            cells += [f"{value:.2f}" for value in (median(ratios), min(ratios), max(ratios))]
            made.add_row(result["what"], recipe, *cells, end_section=recipe == list(result["recipes"])[-1])
    return made


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes precision.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "precision.json").write_text(json.dumps(list(results), indent=1))
