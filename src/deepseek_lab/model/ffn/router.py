"""Routers: which experts a token goes to and with what weight.

- `SigmoidRouter` (V3 §2.1.2, eq. 12-16): s = sigmoid(W·x); experts are chosen by s + b, where b is the
  selection bias of the auxiliary-loss-free balance; weights are s without b, normalised over the
  chosen, then scaled. Groups are ranked by the sum of their two best s + b; experts outside the kept
  groups are masked with −inf (a 0 could beat a negative s + b inside them).
- `SoftmaxRouter` (DeepSeekMoE eq. 9-11; V2 §2.2, eq. 20-22): s = softmax(W·x) over all experts; groups
  (device-limited routing) are ranked by their best s; weights are s, either normalised or scaled.

Logits are always computed in fp32, also under autocast: near-ties decide which expert a token gets.
The bias is a buffer, moved by a rule after the optimiser's step (`objectives.balance.updated_bias`),
never by a gradient. Left out: dropping tokens over a capacity (V2 in training); V3 drops none.

Shapes: N tokens, D width, E routed experts, K experts a token, G groups.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_lab.config import ConfigError
from deepseek_lab.model.ffn.moe_config import RouterConfig
from deepseek_lab.model.linear import project


class Router(nn.Module):
    """Scores tokens against one vector an expert (`weight`, E×D)."""

    selection_bias_E: Tensor | None

    def __init__(self, config: RouterConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, dim))

    def logits(self, x_ND: Tensor) -> Tensor:
        """(N, D) -> (N, E) fp32 (fp64 for fp64)."""
        wide = torch.promote_types(x_ND.dtype, torch.float32)
        if not torch.is_autocast_enabled(x_ND.device.type):
            return project(x_ND.to(wide), self.weight.to(wide))
        with torch.autocast(x_ND.device.type, enabled=False):
            return F.linear(x_ND.to(wide), self.weight.to(wide))

    def mask_groups(self, choice_NE: Tensor, group_score_NG: Tensor, fill: float) -> Tensor:
        """Replaces the choice scores outside each token's best `n_limited_groups` groups by `fill`."""
        kept_NJ = group_score_NG.topk(self.config.n_limited_groups, dim=-1, sorted=False).indices
        dropped_NG = torch.ones_like(group_score_NG, dtype=torch.bool).scatter_(1, kept_NJ, False)
        per_group = self.config.n_routed_experts // self.config.n_expert_groups
        return choice_NE.masked_fill(dropped_NG.repeat_interleave(per_group, dim=1), fill)


class SigmoidRouter(Router):
    """V3's router, with the selection bias."""

    def __init__(self, config: RouterConfig, dim: int) -> None:
        super().__init__(config, dim)
        self.selection_bias_E: Tensor
        self.register_buffer("selection_bias_E", torch.zeros(config.n_routed_experts, dtype=torch.float32))
        if config.n_expert_groups > 1 and config.n_routed_experts // config.n_expert_groups < 2:
            raise ConfigError("leaves groups of one expert, but a group's score is the sum of two", "n_expert_groups")

    def forward(self, x_ND: Tensor, chosen_NK: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> affinity (N, E), weights (N, K), chosen experts (N, K), which may be given."""
        affinity_NE = self.logits(x_ND).sigmoid()
        if chosen_NK is None:
            chosen_NK = self.choose(affinity_NE.detach())
        weight_NK = affinity_NE.gather(1, chosen_NK)
        if self.config.norm_topk_prob:
            weight_NK = weight_NK / (weight_NK.sum(dim=-1, keepdim=True) + 1e-20)
        return affinity_NE, weight_NK * self.config.route_scale, chosen_NK

    def choose(self, affinity_NE: Tensor) -> Tensor:
        """(N, E) affinities -> (N, K) experts by affinity + bias within the best groups."""
        choice_NE = affinity_NE + self.selection_bias_E
        if self.config.n_expert_groups > 1:
            in_groups = choice_NE.unflatten(1, (self.config.n_expert_groups, -1))
            choice_NE = self.mask_groups(choice_NE, in_groups.topk(2, dim=-1).values.sum(-1), float("-inf"))
        return choice_NE.topk(self.config.n_activated_experts, dim=-1, sorted=False).indices


class SoftmaxRouter(Router):
    """The router of DeepSeekMoE and V2: greedy, or limited to the best groups."""

    selection_bias_E: Tensor | None = None

    def forward(self, x_ND: Tensor, chosen_NK: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> affinity (N, E), weights (N, K), chosen experts (N, K), which may be given.

        As in DeepSeek's own code the weights are either normalised or scaled, never both.
        """
        affinity_NE = self.logits(x_ND).softmax(dim=-1)
        if chosen_NK is None:
            chosen_NK = self.choose(affinity_NE.detach())
        weight_NK = affinity_NE.gather(1, chosen_NK)
        if self.config.norm_topk_prob and self.config.n_activated_experts > 1:
            return affinity_NE, weight_NK / (weight_NK.sum(dim=-1, keepdim=True) + 1e-20), chosen_NK
        return affinity_NE, weight_NK * self.config.route_scale, chosen_NK

    def choose(self, affinity_NE: Tensor) -> Tensor:
        """(N, E) probabilities -> (N, K) likeliest experts within the best groups."""
        if self.config.n_expert_groups > 1:
            in_groups = affinity_NE.unflatten(1, (self.config.n_expert_groups, -1))
            affinity_NE = self.mask_groups(affinity_NE, in_groups.amax(dim=-1), 0.0)
        return affinity_NE.topk(self.config.n_activated_experts, dim=-1, sorted=False).indices
