"""The decoding step through `torch.compile`: the blocks run as a few fused kernels instead of hundreds of small ones.

Each kind of block is compiled once (dense or mixture; one row, a few), for any number of keys, and all blocks of a kind
share the code. It takes seconds to a minute when a shape comes first, and the numbers differ from eager ones by
rounding. Left out: prefill, several tokens a row (speculation), layers that a precision recipe has replaced, and many
rows: there the products are the time, and compiled code reads an expert's matrix once for each row that needs it.

Shapes: B rows, V vocabulary.
"""

import sys

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
    block_step = torch.compile(_block_step, dynamic=True)

    def decode_one(model: Transformer, token_B: Tensor, cache: Cache, noted: list[Tensor] | None = None) -> Tensor:
        if noted is not None:
            raise ValueError("a compiled step does not tell its experts")
        ids_B1 = token_B[:, None]
        context = cached_context(model.config.rope, model.rope_dim, ids_B1, None, cache, as_ragged=True)
        # No complex numbers, which the compiler does not know.
        where = torch.view_as_real(context.rotation_BTR), context.mask_BTS, context.slots_BT
        x_BTD = model.embedding(ids_B1)
        for block, layer in zip(model.blocks, cache.layers, strict=True):
            x_BTD = block_step(block, x_BTD, *where, layer[:, : context.n_keys])
        with decoding():
            return project(model.final_norm(x_BTD)[:, -1], model.head_weight_VD)

    return decode_one


def _block_step(
    block: nn.Module, x_BTD: Tensor, rotation: Tensor, mask: Tensor | None, slots: Tensor | None, layer: Tensor
) -> Tensor:
    # All slots of the given view are read, so that no number of keys is built into the code.
    context = AttentionContext(rotation, mask, sys.maxsize, read_cache=True, slots_BT=slots)
    return block(x_BTD, context, layer)[0]  # type: ignore[no-any-return]
