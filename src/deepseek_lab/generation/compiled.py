"""The decoding step through `torch.compile`: the blocks run as a few fused kernels instead of hundreds of small ones.

Each kind of block is compiled once (dense or mixture; one row, a few), for any number of keys, and all blocks of a kind
share the code. Which kind a block is of is found out once and not looked up in its modules at each step, as torch does
unless told otherwise: for one row that took a tenth of the step. Compiling takes seconds to a minute when a shape comes
first, and the numbers differ from eager ones by rounding. All blocks as one piece of code would be an eighth quicker
for one row, and take half a minute to compile where these take four seconds.

Left out: prefill, several tokens a row (speculation), layers that a precision recipe has replaced, and many rows: there
the products are the time, and compiled code reads an expert's matrix once for each row that needs it.

Shapes: B rows, V vocabulary.
"""

import hashlib
import sys
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from deepseek_lab.generation.decoding import DecodeOne
from deepseek_lab.model.attention.interface import AttentionContext
from deepseek_lab.model.cache import Cache
from deepseek_lab.model.linear import decoding, project
from deepseek_lab.model.positions import cached_context
from deepseek_lab.model.transformer import Transformer

COMPILED_ROWS = 4
"""Rows up to which the compiled step is the quicker one."""


def compiled_decode_one() -> DecodeOne:
    """A `decode_one` whose blocks are compiled when they are first run."""
    look_less: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_guard_on_all_nn_modules_unsafe}  # see `_kind`
    block_step = torch.compile(_block_step, dynamic=True, options=look_less)
    kinds: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()

    def decode_one(model: Transformer, token_B: Tensor, cache: Cache, noted: list[Tensor] | None = None) -> Tensor:
        if noted is not None:
            raise ValueError("a compiled step does not tell its experts")
        ids_B1 = token_B[:, None]
        context = cached_context(model.config.rope, model.rope_dim, ids_B1, None, cache, as_ragged=True)
        # No complex numbers, which the compiler does not know.
        where = torch.view_as_real(context.rotation_BTR), context.mask_BTS, context.slots_BT
        x_BTD = model.embedding(ids_B1)
        for block, layer in zip(model.blocks, cache.layers, strict=True):
            if block not in kinds:
                kinds[block] = _kind(model, block)
            x_BTD = block_step(kinds[block], block, x_BTD, *where, layer[:, : context.n_keys])
        with decoding():
            return project(model.final_norm(x_BTD)[:, -1], model.head_weight_VD)

    return decode_one


def _kind(model: Transformer, block: nn.Module) -> str:
    """All that code made for a block takes for granted: the network's settings, its own modules and their shapes."""
    modules = [(name, type(module).__qualname__) for name, module in block.named_modules()]
    weights = [(name, tuple(weight.shape), weight.dtype, weight.device) for name, weight in block.named_parameters()]
    return hashlib.sha256(repr((model.config, modules, weights)).encode()).hexdigest()


def _block_step(
    kind: str,
    block: nn.Module,
    x_BTD: Tensor,
    rotation: Tensor,
    mask: Tensor | None,
    slots: Tensor | None,
    layer: Tensor,
) -> Tensor:
    """One block; code is made anew for another `kind`, and for nothing else that is said of the block."""
    if not kind:  # what is not read is not looked at
        raise ValueError("a block is of some kind")
    # All slots of the given view are read, so that no number of keys is built into the code.
    context = AttentionContext(rotation, mask, sys.maxsize, read_cache=True, slots_BT=slots)
    return block(x_BTD, context, layer)[0]  # type: ignore[no-any-return]
