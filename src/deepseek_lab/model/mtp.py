"""Multi-token prediction: D extra modules that predict further tokens, in a causal chain.

h_i^k = Block_k(W_k·[RMSNorm(Emb(t_{i+k})); RMSNorm(h_i^{k-1})])   (V3 §2.2, eq. 21-23), embedding and head
shared with the main model, one final norm of its own a depth. Position i of depth k predicts token
i + k + 1; a sequence of T tokens gives T - k positions. Positions count from 0 again: RoPE sees
differences only.

Two points where texts differ are knobs; the defaults are what the released checkpoints use:
- `concat`: `embedding_first` (checkpoints, transformers, torchtitan) or `hidden_first` (paper eq. 21);
- `hidden`: `final_norm`, the main model's state after its final norm (transformers), or `pre_norm`
  (torchtitan). From depth 2 on the previous depth's state after its norm is passed in both.

Left out here: loss and its weight (objectives), speculative decoding (generation).

Shapes: B batch, T time, D width.
"""

from typing import TypeAlias

import torch
from torch import Tensor, nn

from deepseek_lab.model.attention.interface import AttentionContext
from deepseek_lab.model.block import Block
from deepseek_lab.model.linear import Linear
from deepseek_lab.model.mtp_config import MultiTokenPredictionConfig
from deepseek_lab.model.norm import RMSNorm
from deepseek_lab.model.output import RoutingStatistics
from deepseek_lab.seams import recomputable


class MultiTokenPrediction(nn.Module):
    """One depth: joins the previous state with the next token's embedding and runs one block."""

    Config: TypeAlias = MultiTokenPredictionConfig

    def __init__(self, config: Config, dim: int, norm_eps: float, block: Block) -> None:
        super().__init__()
        self.embedding_first = config.concat == "embedding_first"
        self.embedding_norm = RMSNorm(dim, norm_eps)
        self.hidden_norm = RMSNorm(dim, norm_eps)
        self.join = Linear(2 * dim, dim, bias=False)
        self.block = block
        self.final_norm = RMSNorm(dim, norm_eps)

    def forward(
        self,
        hidden_BTD: Tensor,
        embedding_BTD: Tensor,
        context: AttentionContext,
        cache_BL: Tensor | None = None,
    ) -> tuple[Tensor, RoutingStatistics | None]:
        """State of depth k-1 and the embeddings k tokens on, both (B, T-k, D) -> state of depth k."""
        parts = (self.embedding_norm(embedding_BTD), self.hidden_norm(hidden_BTD))
        joined_BTD = self.join(recomputable(_beside, *(parts if self.embedding_first else parts[::-1])))
        out_BTD, statistics = self.block(joined_BTD, context, cache_BL)
        return self.final_norm(out_BTD), statistics


def _beside(first_BTD: Tensor, second_BTD: Tensor) -> Tensor:
    return torch.cat((first_BTD, second_BTD), dim=-1)
