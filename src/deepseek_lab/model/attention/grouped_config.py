"""Sizes of grouped-query attention, apart from the module: they are checked before torch is imported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.model.rope_config import PLAIN, Layout, RopeConfig

if TYPE_CHECKING:
    from deepseek_lab.model.attention.grouped import GroupedAttention


@dataclass(frozen=True, kw_only=True)
class GroupedAttentionConfig(CheckedConfig):
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
            raise ConfigError(f"must divide n_heads ({self.n_heads}), which {self.n_kv_heads} does not", "n_kv_heads")
        if self.head_dim is not None and self.head_dim % 2:
            raise ConfigError(f"must be even, RoPE turns pairs of channels; not {self.head_dim}", "head_dim")

    def rope_dim_at(self, dim: int) -> int:
        if self.head_dim is not None:
            return self.head_dim
        if dim % (2 * self.n_heads):
            raise ConfigError(f"does not cut dim={dim} into even heads; {self.n_heads} does not fit", "n_heads")
        return dim // self.n_heads

    def build(self, dim: int, *, layer_index: int = 0, rope: RopeConfig = PLAIN) -> "GroupedAttention":
        from deepseek_lab.model.attention.grouped import GroupedAttention

        return GroupedAttention(self, dim, rope)
