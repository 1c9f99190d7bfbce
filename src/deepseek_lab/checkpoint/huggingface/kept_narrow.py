"""A model whose products stay in FP8: which modules, and how a published tensor is written into them.

The same tensors that DeepSeek stores in FP8 (`scaled_blocks.is_scaled`): the products of attention and FFNs. A folder
that holds them in FP8 is copied as it is; from any other each tensor is rounded on its way.
"""

import torch
from torch import Tensor, nn

from deepseek_lab.checkpoint.huggingface.scaled_blocks import scale_of
from deepseek_lab.checkpoint.huggingface.source import Source
from deepseek_lab.config import DataError
from deepseek_lab.model.block import Block
from deepseek_lab.model.ffn.experts import Experts
from deepseek_lab.precision.stored import (
    BLOCK,
    NARROW,
    StoredGroupedMatmul,
    StoredLinear,
    narrowed,
    scales_of_rows,
)

Pair = tuple[Tensor, Tensor]
"""e4m3 numbers, and the scale of each row's blocks."""


def keep_narrow(model: nn.Module, dtype: torch.dtype) -> None:
    """Replaces the products of a model on `meta`; `dtype` is what the others will be."""
    for block in [module for module in model.modules() if isinstance(module, Block)]:
        for parent in list(block.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.Linear):
                    setattr(parent, name, StoredLinear(child, dtype))
            if isinstance(parent, Experts):
                _keep_experts_narrow(parent)


def _keep_experts_narrow(experts: Experts) -> None:
    for matmul, key in (("gate_up_matmul", "gate_up_EXD"), ("down_matmul", "down_EDI")):
        parameter = getattr(experts, key)
        setattr(experts, matmul, StoredGroupedMatmul(parameter))
        setattr(experts, key, nn.Parameter(parameter.detach().to(NARROW), requires_grad=False))


def narrow_pair(model: nn.Module, ours: str) -> Pair | None:
    """Where a tensor of ours is kept in FP8, under the name that it has in a wide model; None where it is not."""
    path, _, kind = ours.rpartition(".")
    module = model.get_submodule(path)
    if isinstance(module, StoredLinear) and kind == "weight":
        return module.narrow_OI, module.scale_OC
    if isinstance(module, Experts):
        matmul = module.gate_up_matmul if kind.startswith("gate_up") else module.down_matmul
        if isinstance(matmul, StoredGroupedMatmul):
            return getattr(module, kind).detach(), matmul.scale_EOC
    return None


def fill_narrow(source: Source, name: str, narrow: Tensor, scale: Tensor, wide: Tensor | None) -> None:
    """Writes a stored tensor into a pair; `wide`: its numbers where it is not stored in FP8."""
    if wide is not None:
        rounded, blocks = narrowed(wide)
        narrow.copy_(rounded)
        scale.copy_(scales_of_rows(blocks, narrow.shape[0]))
        return
    assert source.blocks is not None, "compared before"
    if source.blocks.columns != BLOCK:
        raise DataError(f"{source.path}: blocks of {source.blocks.columns} columns cannot be kept; {BLOCK} can")
    narrow.copy_(source.folder.read(name))
    stored = source.folder.read(scale_of(name)).float()
    scale.copy_(scales_of_rows(stored, narrow.shape[0], source.blocks.rows))
