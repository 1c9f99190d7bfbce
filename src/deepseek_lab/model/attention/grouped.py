"""Grouped-query attention, with multi-head and multi-query attention as its two ends.

H query heads share G key-value heads (Ainslie et al. 2023): G = H is MHA (Vaswani et al. 2017),
G = 1 is MQA (Shazeer 2019). The cache keeps 2·G·d_h numbers a token and layer (V2 Table 1).
DeepSeek LLM 7B, Coder and Math use MHA, LLM 67B and the distilled models GQA; the Qwen-shaped ones
add a bias to q, k and v; a bias on the output too is known from Llama's config alone.

Shapes: B batch, T new tokens, S keys, D width, H query heads, G key-value heads, K head width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.model.attention.interface import FEW_QUERIES, Attention, AttentionContext, attend, attend_few
from deepseek_lab.model.cache import write_tokens
from deepseek_lab.model.linear import Linear
from deepseek_lab.model.rope import Layout, RopeConfig, rotate


class GroupedAttention(Attention):
    """softmax(q·kᵀ/√d_h)·v with H query heads over G key-value heads."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """`head_dim` None means dim / n_heads."""

        n_heads: int
        n_kv_heads: int
        head_dim: int | None = None
        qkv_bias: bool = False
        out_bias: bool = False
        rope_layout: Layout = "half_split"

        def check(self) -> None:
            self.require_positive("n_heads", "n_kv_heads", "head_dim")
            if self.n_heads % self.n_kv_heads:
                raise ConfigError(
                    f"must divide n_heads ({self.n_heads}), which {self.n_kv_heads} does not", "n_kv_heads"
                )
            if self.head_dim is not None and self.head_dim % 2:
                raise ConfigError(f"must be even, RoPE turns pairs of channels; not {self.head_dim}", "head_dim")

        def rope_dim_at(self, dim: int) -> int:
            if self.head_dim is not None:
                return self.head_dim
            if dim % (2 * self.n_heads):
                raise ConfigError(f"does not cut dim={dim} into even heads; {self.n_heads} does not fit", "n_heads")
            return dim // self.n_heads

        def build(self, dim: int, *, layer_index: int, rope: RopeConfig) -> "GroupedAttention":
            return GroupedAttention(self, dim, rope)

    def __init__(self, config: Config, dim: int, rope: RopeConfig) -> None:
        super().__init__()
        self.config = config
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

    def forward(self, x_BTD: Tensor, context: AttentionContext, cache_BL: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D); writes the new keys and values into `cache_BL` when one is given."""
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
