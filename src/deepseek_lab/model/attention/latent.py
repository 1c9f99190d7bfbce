"""Multi-head latent attention (MLA): keys and values rebuilt from one small latent a token.

c = RMSNorm(W_kv_a·x) is all that is kept, with one rope key k_pe shared by every head (V2 §2.1.2-3,
eq. 9-19; V3 §2.1.1). Each head's key is [W_UK·c, k_pe], its value W_UV·c; W_UK and W_UV are the two
halves of `wkv_b`. Two forms compute the same thing:
- *expanded*: build all keys and values, then plain attention. For training and prefill, where the
  T×S products are the cost and the narrow heads (nope + rope) are the cheaper ones.
- *absorbed*: q'·c with q' = W_UKᵀ·q, and W_UV applied after the sum (V2 App. C, "absorb"). For
  decoding: the cache is read as it lies, never re-expanded, by one or a few new tokens (speculation).

Per-head layouts are DeepSeek's: queries [nope, rope], `wkv_a` [latent, rope key], `wkv_b` [key, value].
The rope key gets no norm; the latent norms keep eps 1e-6 whatever the model's eps (the released code
never passes one). Left out: the "additional scaling factors at the width bottlenecks" of V2 §3.1.2,
which no released code contains.

Shapes: B batch, T new tokens, S keys, D width, H heads, N nope width, R rope width, K = N + R,
V value width, C kv_lora_rank, X = C + R, M = B·T.
"""

from typing import TypeAlias

import torch
from torch import Tensor

from deepseek_lab.model.attention.interface import (
    FEW_QUERIES,
    Attention,
    AttentionContext,
    attend,
    attend_few,
    plain_context,
)
from deepseek_lab.model.attention.latent_config import LatentAttentionConfig
from deepseek_lab.model.cache import write_tokens
from deepseek_lab.model.linear import Linear
from deepseek_lab.model.norm import RMSNorm
from deepseek_lab.model.rope import RopeConfig, rotate
from deepseek_lab.seams import recomputable

LATENT_NORM_EPS = 1e-6


class LatentAttention(Attention):
    """MLA; expanded unless a few new tokens a row read a cache, then absorbed."""

    Config: TypeAlias = LatentAttentionConfig

    def __init__(self, config: Config, dim: int, rope: RopeConfig) -> None:
        super().__init__()
        self.config, self.rope = config, rope
        qk_head_dim = config.qk_nope_head_dim + config.qk_rope_head_dim
        self.scale = qk_head_dim**-0.5 * rope.softmax_factor
        if config.q_lora_rank is None:
            self.wq = Linear(dim, config.n_heads * qk_head_dim, bias=False)
        else:
            self.wq_a = Linear(dim, config.q_lora_rank, bias=config.bias)
            self.q_norm = RMSNorm(config.q_lora_rank, LATENT_NORM_EPS)
            self.wq_b = Linear(config.q_lora_rank, config.n_heads * qk_head_dim, bias=False)
        self.wkv_a = Linear(dim, config.kv_lora_rank + config.qk_rope_head_dim, bias=config.bias)
        self.kv_norm = RMSNorm(config.kv_lora_rank, LATENT_NORM_EPS)
        kv_head_dim = config.qk_nope_head_dim + config.v_head_dim
        self.wkv_b = Linear(config.kv_lora_rank, config.n_heads * kv_head_dim, bias=False)
        self.wo = Linear(config.n_heads * config.v_head_dim, dim, bias=config.bias)

    def cache_shape(self) -> tuple[int, ...]:
        return (self.config.kv_lora_rank + self.config.qk_rope_head_dim,)

    def score_and_value_width(self) -> int:
        c = self.config
        return c.n_heads * (c.qk_nope_head_dim + c.qk_rope_head_dim + c.v_head_dim)

    def forward(self, x_BTD: Tensor, context: AttentionContext | None = None, cache_BL: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D); writes the latent and rope key into `cache_BL` when one is given."""
        context = context or plain_context(self.rope, self.config.qk_rope_head_dim, x_BTD)
        q_source = x_BTD if self.config.q_lora_rank is None else self.q_norm(self.wq_a(x_BTD))
        latent_BTC, k_pe_BTR = self._latents(x_BTD, context)
        if cache_BL is not None:
            new_BT = torch.cat((latent_BTC, k_pe_BTR), dim=-1)
            write_tokens(cache_BL, new_BT, context.slots_BT, context.keep_BT, context.start)
            if context.read_cache:
                stored_BSX = cache_BL[:, : context.n_keys].to(x_BTD.dtype)
                if x_BTD.shape[1] <= FEW_QUERIES:
                    return self._absorbed(*self._queries(q_source, context), stored_BSX, context.mask_BTS)
                latent_BTC, k_pe_BTR = stored_BSX.split((self.config.kv_lora_rank, self.config.qk_rope_head_dim), -1)
        return self._expanded(q_source, context, latent_BTC, k_pe_BTR)

    def _queries(self, q_source: Tensor, context: AttentionContext) -> tuple[Tensor, Tensor]:
        """The nope and rope parts, from the width or from the query's latent."""
        c = self.config
        q = self.wq(q_source) if c.q_lora_rank is None else self.wq_b(q_source)
        q_nope, q_pe = q.unflatten(-1, (c.n_heads, -1)).split((c.qk_nope_head_dim, c.qk_rope_head_dim), -1)
        return q_nope, rotate(q_pe, context.rotation_BTR, c.rope_layout)

    def _latents(self, x_BTD: Tensor, context: AttentionContext) -> tuple[Tensor, Tensor]:
        c = self.config
        latent, k_pe = self.wkv_a(x_BTD).split((c.kv_lora_rank, c.qk_rope_head_dim), -1)
        k_pe = rotate(k_pe.unsqueeze(2), context.rotation_BTR, c.rope_layout).squeeze(2)
        return self.kv_norm(latent), k_pe

    def _joined_queries(self, q_source: Tensor, context: AttentionContext) -> Tensor:
        return torch.cat(self._queries(q_source, context), dim=-1)

    def _joined_keys(self, kv_BSHX: Tensor, k_pe_BSR: Tensor) -> Tensor:
        c = self.config
        k_nope = kv_BSHX[..., : c.qk_nope_head_dim]
        k_pe = k_pe_BSR.unsqueeze(2).expand(-1, -1, c.n_heads, -1).to(k_nope.dtype)
        return torch.cat((k_nope, k_pe), dim=-1)

    def _expanded(self, q_source: Tensor, context: AttentionContext, latent_BSC: Tensor, k_pe_BSR: Tensor) -> Tensor:
        c = self.config
        if c.q_lora_rank is None:
            q_BTHK = self._joined_queries(q_source, context)
        else:
            q_BTHK = recomputable(self._joined_queries, q_source, context)
        kv_BSHX = recomputable(self.wkv_b, latent_BSC).unflatten(-1, (c.n_heads, -1))
        k_BSHK, v_BSHV = recomputable(self._joined_keys, kv_BSHX, k_pe_BSR), kv_BSHX[..., c.qk_nope_head_dim :]
        q_BHTK, k_BHSK, v_BHSV = (x.transpose(1, 2) for x in (q_BTHK, k_BSHK, v_BSHV))
        y_BHTV = attend(q_BHTK, k_BHSK, v_BHSV, context.mask_BTS, self.scale, context.segments)
        out: Tensor = self.wo(y_BHTV.transpose(1, 2).flatten(2))
        return out

    def _absorbed(self, q_nope: Tensor, q_pe: Tensor, stored_BSX: Tensor, mask: Tensor | None) -> Tensor:
        c = self.config
        weight_HXC = self.wkv_b.weight.to(q_nope.dtype).view(c.n_heads, -1, c.kv_lora_rank)
        up_key_HNC, up_value_HVC = weight_HXC.split((c.qk_nope_head_dim, c.v_head_dim), 1)
        batch, time = q_nope.shape[:2]
        q_MHC = torch.bmm(q_nope.flatten(0, 1).transpose(0, 1), up_key_HNC).transpose(0, 1)
        q_BTHX = torch.cat((q_MHC, q_pe.flatten(0, 1)), dim=-1).unflatten(0, (batch, time))
        # Values as wide as keys, which the kernel wants; the rope part of the sum is cut off again.
        stored_B1SX = stored_BSX.unsqueeze(1)
        mixed_BTHX = attend_few(q_BTHX, stored_B1SX, stored_B1SX, mask, self.scale)
        mixed_HMC = mixed_BTHX[..., : c.kv_lora_rank].flatten(0, 1).transpose(0, 1)
        y_MHV = torch.bmm(mixed_HMC, up_value_HVC.mT).transpose(0, 1)
        out: Tensor = self.wo(y_MHV.flatten(1).unflatten(0, (batch, time)))
        return out
