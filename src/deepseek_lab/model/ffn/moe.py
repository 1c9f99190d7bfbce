"""DeepSeekMoE: many small routed experts, a few shared ones that see every token, first layers dense.

y = Σ_shared FFN(x) + Σ_chosen w_i·FFN_i(x)   (DeepSeekMoE eq. 9; V2 eq. 20; V3 eq. 12). The residual is
added by the block. The shared experts are one SwiGLU of width n_shared · moe_intermediate_size, as in
every released model, and enter with weight 1.

Balance is not this module's affair: it returns statistics, and the stage applies losses and the bias.

Shapes: B batch, T time, N = B·T tokens, D width, E routed experts, K experts a token.
"""

from typing import TypeAlias

from torch import Tensor, nn

from deepseek_lab.model.ffn.dense import DenseFeedForward
from deepseek_lab.model.ffn.experts import Experts
from deepseek_lab.model.ffn.moe_config import MixtureOfExpertsConfig
from deepseek_lab.model.ffn.router import Router, SigmoidRouter, SoftmaxRouter
from deepseek_lab.model.output import RoutingStatistics


class MixtureOfExperts(nn.Module):
    """One mixture layer: `forward` gives the result and what the router did."""

    Config: TypeAlias = MixtureOfExpertsConfig

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        router = SigmoidRouter if config.router == "sigmoid" else SoftmaxRouter
        self.router: Router = router(config, dim)
        self.experts = Experts(dim, config.n_routed_experts, config.moe_intermediate_size)
        shared_size = config.n_shared_experts * config.moe_intermediate_size
        self.shared = DenseFeedForward(dim, shared_size) if shared_size else None

    def forward(self, x_BTD: Tensor, chosen_BTK: Tensor | None = None) -> tuple[Tensor, RoutingStatistics]:
        """(B, T, D) -> (B, T, D) and the routing of these tokens; `chosen_BTK` stands in for the router's choice."""
        x_ND = x_BTD.flatten(0, 1)
        given_NK = None if chosen_BTK is None else chosen_BTK.flatten(0, 1)
        affinity_NE, weight_NK, chosen_NK = self.router(x_ND, given_NK)
        y_ND = self.experts(x_ND, weight_NK, chosen_NK)
        if self.shared is not None:
            y_ND = y_ND + self.shared(x_ND)
        batch, time = x_BTD.shape[:2]
        statistics = RoutingStatistics(
            affinity_BTE=affinity_NE.unflatten(0, (batch, time)),
            chosen_BTK=chosen_NK.unflatten(0, (batch, time)),
        )
        return y_ND.unflatten(0, (batch, time)), statistics
