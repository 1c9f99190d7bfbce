"""Sizes of latent attention, apart from the module: they are checked before torch is imported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.model.rope_config import PLAIN, Layout, RopeConfig

if TYPE_CHECKING:
    from deepseek_lab.model.attention.latent import LatentAttention


@dataclass(frozen=True, kw_only=True)
class LatentAttentionConfig(CheckedConfig):
    """`q_lora_rank` None projects queries straight from the width (V2-Lite); `bias` is that of the products
    with the width on one side (no released model has one)."""

    n_heads: int
    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    rope_layout: Layout = "interleaved"
    bias: bool = False

    def check(self) -> None:
        self.require_positive("n_heads", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "v_head_dim")
        self.require_positive("qk_rope_head_dim")
        if self.qk_rope_head_dim % 2:
            raise ConfigError(
                f"must be even, RoPE turns pairs of channels; not {self.qk_rope_head_dim}", "qk_rope_head_dim"
            )

    def rope_dim_at(self, dim: int) -> int:
        return self.qk_rope_head_dim

    def build(self, dim: int, *, layer_index: int = 0, rope: RopeConfig = PLAIN) -> "LatentAttention":
        from deepseek_lab.model.attention.latent import LatentAttention

        return LatentAttention(self, dim, rope)
