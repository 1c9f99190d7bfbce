"""One pre-norm Transformer block: x + attention(norm(x)), then x + ffn(norm(x)).

Shapes: B batch, T time, D width.
"""

from torch import Tensor, nn

from deepseek_lab.model.attention.interface import Attention, AttentionConfig, AttentionContext
from deepseek_lab.model.ffn.dense import FeedForwardConfig
from deepseek_lab.model.norm import RMSNorm
from deepseek_lab.model.output import RoutingStatistics
from deepseek_lab.model.rope import RopeConfig


class Block(nn.Module):
    """Attention and FFN of layer `layer_index`, each behind its own RMSNorm."""

    def __init__(
        self,
        dim: int,
        layer_index: int,
        attention: AttentionConfig,
        ffn: FeedForwardConfig,
        rope: RopeConfig,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(dim, norm_eps)
        self.attention: Attention = attention.build(dim, layer_index=layer_index, rope=rope)
        self.ffn_norm = RMSNorm(dim, norm_eps)
        self.ffn = ffn.build(dim, layer_index=layer_index)

    def forward(
        self,
        x_BTD: Tensor,
        context: AttentionContext,
        cache_BL: Tensor | None = None,
        chosen_BTK: Tensor | None = None,
    ) -> tuple[Tensor, RoutingStatistics | None]:
        """(B, T, D) -> (B, T, D) and, for a mixture, what its router did, or was told to do (`chosen_BTK`)."""
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), context, cache_BL)
        normed_BTD = self.ffn_norm(x_BTD)
        y = self.ffn(normed_BTD) if chosen_BTK is None else self.ffn(normed_BTD, chosen_BTK)
        y_BTD, statistics = y if isinstance(y, tuple) else (y, None)
        return x_BTD + y_BTD, statistics
