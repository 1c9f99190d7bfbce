"""The loss of on-policy training by a preset's choices (`policy_loss_config`).

Rollouts ask it about groups and lengths, stages for the loss.

Shapes: B answers (groups of G in a row), T tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from deepseek_lab.objectives.advantages import groups_with_spread, joined_rewards, outcome_advantages
from deepseek_lab.objectives.kl import kl_estimate
from deepseek_lab.objectives.overlong import overlong_penalty, without_truncated
from deepseek_lab.objectives.policy_gradient import (
    clip_shares,
    clipped_surrogate,
    log_ratios,
    token_weights,
    truncated_importance,
)
from deepseek_lab.objectives.policy_loss_config import PolicyLossConfig


@dataclass(frozen=True, kw_only=True)
class PolicyLoss(PolicyLossConfig):
    """A preset that can be asked."""

    def advantages(self, answer_B: Tensor, format_B: Tensor | None, group_size: int) -> Tensor:
        """(B,) outcome advantages from rewards for the answer (NaN: not judged) and its form (None: not rewarded)."""
        separate = format_B is not None and self.format == "separate"
        parts = [answer_B, format_B] if separate else [joined_rewards(answer_B, format_B, self.format)]
        return torch.stack(
            [outcome_advantages(part_B, group_size, self.advantage_scale) for part_B in parts if part_B is not None]
        ).sum(0)

    def kept_groups(self, answer_B: Tensor, group_size: int) -> Tensor:
        """(N,) bool: the groups that need not be drawn again, by the reward for the answer alone."""
        if not self.dynamic_sampling:
            return torch.ones(answer_B.shape[0] // group_size, dtype=torch.bool, device=answer_B.device)
        return groups_with_spread(answer_B, group_size, self.spread_tolerance)

    def length_penalty(self, length_B: Tensor, longest: int) -> Tensor:
        """(B,) what an answer's length adds to its reward: 0 to -1."""
        if self.overlong_share is None:
            return torch.zeros(length_B.shape, device=length_B.device)
        return overlong_penalty(length_B, longest, max(1, round(self.overlong_share * longest)))

    def counted(self, mask_BT: Tensor, truncated_B: Tensor) -> Tensor:
        """(B, T) the tokens that train."""
        return without_truncated(mask_BT, truncated_B) if self.mask_truncated else mask_BT

    def weights(self, mask_BT: Tensor, group_size: int, longest: int) -> Tensor:
        """(B, T) weight of each token of a whole step; see `token_weights`."""
        return token_weights(mask_BT, self.aggregation, group_size, longest)

    def loss(
        self,
        logp_BT: Tensor,
        logp_old_BT: Tensor,
        advantage_BT: Tensor,
        mask_BT: Tensor,
        weight_BT: Tensor,
        logp_reference_BT: Tensor | None = None,
        logp_sampler_BT: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A micro-batch's share of -J and its curves; `weight_BT` is its part of `weights` of the whole step.

        The curves are means over this micro-batch's tokens. Raises ValueError when β > 0 has no reference.
        """
        weight_BT = weight_BT.to(logp_BT.dtype)
        ratio_BT = log_ratios(logp_BT, logp_old_BT, mask_BT, self.ratio)
        gain_BT = clipped_surrogate(ratio_BT, advantage_BT, self.clip_low, self.clip_high, self.dual_clip)
        if self.importance_cap is not None and logp_sampler_BT is not None:
            gain_BT = gain_BT * truncated_importance(logp_old_BT, logp_sampler_BT, self.importance_cap)
        metrics = clip_shares(ratio_BT, advantage_BT, mask_BT, self.clip_low, self.clip_high)
        loss = -_sum(gain_BT, weight_BT, mask_BT)
        if logp_reference_BT is None:
            if self.kl_weight:
                raise ValueError(f"{self.name} has a KL weight of {self.kl_weight} and got no reference")
            return loss, metrics
        token_ratio_BT = log_ratios(logp_BT, logp_old_BT, mask_BT)
        kl_BT = kl_estimate(logp_BT, logp_reference_BT, self.kl_estimator, token_ratio_BT)
        metrics["kl"] = _sum(kl_BT.detach(), mask_BT / mask_BT.sum().clamp_min(1), mask_BT)
        return loss + self.kl_weight * _sum(kl_BT, weight_BT, mask_BT), metrics


def _sum(values_BT: Tensor, weight_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Weighted sum over the mask; what padding holds (−inf, NaN) is not multiplied by 0 but left out."""
    return (torch.where(mask_BT, values_BT, 0.0) * weight_BT).sum()
