"""Lays a recipe over a built model: in place, names kept, before the model is sharded and the optimiser made.

A module's class is exchanged for one that multiplies rounded operands; its parameters, hooks and name stay as they
are, so that checkpoints of all recipes are the same, and DDP and FSDP2 wrap what they always do. (Lightning's own
hook, `convert_module`, comes behind `fully_shard`, and DDP drops the module it returns.)

Left out: which device a model will run on; the caller knows.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import nn

from deepseek_lab.precision.accumulate import limited_product
from deepseek_lab.precision.backend import Backend, Emulated
from deepseek_lab.precision.grouped import RoundedGroupedMatmul
from deepseek_lab.precision.linear import Layer, RoundedLinear
from deepseek_lab.precision.native import Native
from deepseek_lab.precision.nonlinearity import CachedNonlinearity
from deepseek_lab.precision.operands import Operands
from deepseek_lab.precision.recipe import BFloat16, Float8, Recipe
from deepseek_lab.precision.rules import rules_of
from deepseek_lab.precision.selection import backend_of
from deepseek_lab.seams import GroupedMatmul, Nonlinearity

Rounded = RoundedLinear | RoundedGroupedMatmul


def apply(
    model: nn.Module, recipe: Recipe, device_type: str = "cpu", capability: tuple[int, int] | None = None
) -> None:
    """Puts a built model into the recipe's format for a kind of device; a second call changes nothing.

    Floating-point parameters and buffers become fp32 (a model read from a bf16 checkpoint is widened), but for the
    weights of quantised layers where the recipe keeps bf16 masters. Raises ConfigError as `backend_of` does.
    """
    if any(isinstance(module, (RoundedLinear, RoundedGroupedMatmul)) for module in model.modules()):
        return
    backend = backend_of(recipe, device_type, capability)
    model.float()
    if isinstance(recipe, Float8) or (isinstance(recipe, BFloat16) and backend == "emulated"):
        _round_products(model, recipe, _backend(recipe, backend))
    if isinstance(recipe, Float8) and recipe.master_weights == "bf16":
        _narrow_masters(model, recipe)


def _backend(recipe: BFloat16 | Float8, name: str) -> Backend:
    if name == "native":
        return Native()
    if isinstance(recipe, BFloat16) or recipe.accumulator == "fp32":
        return Emulated()
    return Emulated(limited_product(promoted=recipe.accumulator == "14_bit_promoted"))


def quantised_layers(model: nn.Module, recipe: BFloat16 | Float8) -> Iterator[tuple[str, nn.Module]]:
    """The linears and grouped products that the recipe rounds, by name."""
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, GroupedMatmul)) and not is_kept_high(name, recipe):
            yield name, module


def is_kept_high(name: str, recipe: BFloat16 | Float8) -> bool:
    """Whether a module or parameter stays as it is: one part of its dotted name stands in the recipe."""
    return not set(recipe.kept_high).isdisjoint(name.split("."))


def _round_products(model: nn.Module, recipe: BFloat16 | Float8, backend: Backend) -> None:
    for name, module in list(quantised_layers(model, recipe)):
        linear = isinstance(module, nn.Linear)
        module.__class__ = RoundedLinear if linear else RoundedGroupedMatmul
        cast(Rounded, module).layer = Layer(Operands(name, rules_of(recipe, name)), backend)
    if isinstance(recipe, Float8) and recipe.cache_swiglu_input:
        for name, module in model.named_modules():
            if isinstance(module, Nonlinearity) and not is_kept_high(name, recipe):
                module.__class__ = CachedNonlinearity
                cached = cast(CachedNonlinearity, module)
                cached.operands, cached.backend = Operands(name, rules_of(recipe, name)), backend


def _narrow_masters(model: nn.Module, recipe: Float8) -> None:
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2 and not is_kept_high(name, recipe):
            parameter.data = parameter.data.to(torch.bfloat16)
