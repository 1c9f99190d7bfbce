"""Training passes through `torch.compile`, block by block: the small operations between two products become one.

A block is compiled when it is first run with gradients, once for each kind (dense, mixture) and length, and all blocks
of a kind share the code; passes without gradients (validation, samples) stay as they are. Applied to a built model, in
place, names kept, before it is sharded; it is no part of the model's config, so a checkpoint resumes with another
choice. Numbers differ from eager ones by rounding.

What is worth it is decided elsewhere (`experiment.compiling`). On one CPU core a step took 0.95 to 1.13 times as long
as without (width 512, 8 dense layers): products are most of it, and their library stays the same.

Left out: embedding, head and loss; the inside of experts' grouped products where torch's compiler knows none (`seams`).
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from deepseek_lab.model.block import Block


def compile_blocks(model: nn.Module) -> None:
    """Makes the blocks of `model` compile themselves; call it once on a built model."""
    for module in model.modules():
        if type(module) is Block:
            module.__class__ = CompiledBlock  # one class for all: code is shared by class


class CompiledBlock(Block):
    """A block whose passes with gradients are compiled."""

    def forward(self, x_BTD: Tensor, *others: Any) -> Any:
        if not torch.is_grad_enabled():
            return super().forward(x_BTD, *others)
        return _compiled_forward()(self, x_BTD, *others)


@cache
def _compiled_forward() -> Callable[..., Any]:
    """Made when it is first needed: torch's compiler takes a second to import."""
    for known in ("Torchinductor does not support code generation for complex", "Dynamo does not know how to trace"):
        warnings.filterwarnings("ignore", message=known)  # rotations and grouped products stay eager, as they were
    compiled: Callable[..., Any] = torch.compile(Block.forward)
    return compiled
