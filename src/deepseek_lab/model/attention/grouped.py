"""Grouped-query attention, with multi-head and multi-query attention as its two ends.

H query heads share G key-value heads (Ainslie et al. 2023): G = H is MHA (Vaswani et al. 2017),
G = 1 is MQA (Shazeer 2019). The cache keeps 2·G·d_h numbers a token and layer (V2 Table 1).
DeepSeek LLM 7B, Coder and Math use MHA, LLM 67B and the distilled models GQA; the Qwen-shaped ones
add a bias to q, k and v; a bias on the output too is known from Llama's config alone.

Shapes: B batch, T new tokens, S keys, D width, H query heads, G key-value heads, K head width.
"""

from typing import TypeAlias

import torch
from torch import Tensor

from deepseek_lab.model.attention.grouped_config import GroupedAttentionConfig
from deepseek_lab.model.attention.interface import (
    FEW_QUERIES,
    Attention,
    AttentionContext,
    attend,
    attend_few,
    plain_context,
)
from deepseek_lab.model.cache import write_tokens
from deepseek_lab.model.linear import Linear
from deepseek_lab.model.rope import RopeConfig, rotate


class GroupedAttention(Attention):
    """softmax(q·kᵀ/√d_h)·v with H query heads over G key-value heads."""

    Config: TypeAlias = GroupedAttentionConfig

    def __init__(self, config: Config, dim: int, rope: RopeConfig) -> None:
        super().__init__()
        self.config, self.rope = config, rope
        self.head_dim = config.rope_dim_at(dim)
        self.scale = self.head_dim**-0.5 * rope.softmax_factor
        self.wq = Linear(dim, config.n_heads * self.head_dim, bias=config.qkv_bias)
        self.wk = Linear(dim, config.n_kv_heads * self.head_dim, bias=config.qkv_bias)
        self.wv = Linear(dim, config.n_kv_heads * self.head_dim, bias=config.qkv_bias)
        self.wo = Linear(config.n_heads * self.head_dim, dim, bias=config.out_bias)

    def cache_shape(self) -> tuple[int, ...]:
        return (2, self.config.n_kv_heads, self.head_dim)

    def score_and_value_width(self) -> int:
        return self.config.n_heads * 2 * self.head_dim

    def forward(self, x_BTD: Tensor, context: AttentionContext | None = None, cache_BL: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D); writes the new keys and values into `cache_BL` when one is given."""
        context = context or plain_context(self.rope, self.head_dim, x_BTD)
        q_BTHK, k_BTGK = (w(x_BTD).unflatten(-1, (-1, self.head_dim)) for w in (self.wq, self.wk))
        v_BTGK = self.wv(x_BTD).unflatten(-1, (-1, self.head_dim))
        q_BTHK = rotate(q_BTHK, context.rotation_BTR, self.config.rope_layout)
        k_BTGK = rotate(k_BTGK, context.rotation_BTR, self.config.rope_layout)
        if cache_BL is not None:
            new_BT = torch.stack((k_BTGK, v_BTGK), dim=2)
            write_tokens(cache_BL, new_BT, context.slots_BT, context.keep_BT, context.start)
            if context.read_cache:
                k_BTGK, v_BTGK = cache_BL[:, : context.n_keys].to(x_BTD.dtype).unbind(2)
        k_BGSK, v_BGSK = k_BTGK.transpose(1, 2), v_BTGK.transpose(1, 2)
        if context.read_cache and x_BTD.shape[1] <= FEW_QUERIES:
            y_BTHK = attend_few(q_BTHK, k_BGSK, v_BGSK, context.mask_BTS, self.scale)
        else:
            seen = (context.mask_BTS, self.scale, context.segments)
            y_BTHK = attend(q_BTHK.transpose(1, 2), k_BGSK, v_BGSK, *seen).transpose(1, 2)
        out: Tensor = self.wo(y_BTHK.flatten(2))
        return out
