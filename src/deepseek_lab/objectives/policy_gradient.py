"""Policy gradients on sampled answers: PPO's clipped surrogate, and the ways GRPO and its relatives weigh it.

    ρ_{i,t} = π_θ/π_old at a token, or of a whole answer   s_i = exp(mean_t log ρ_{i,t})       (GSPO eq. 5-7)
    J = Σ_{i,t} w_{i,t} { c_{i,t}·min(ρÂ, clip(ρ, 1-ε_low, 1+ε_high)Â) - β·KL_{i,t} }

* PPO (Schulman et al. 2017 eq. 7), ε_low = ε_high; its value loss (OpenAI baselines, not in the paper) is below
* GRPO (DeepSeekMath eq. 3): w = 1/(B·|o_i|)    DAPO (eq. 8, 10): w = 1/Σ|o| and ε_high > ε_low
* Dr. GRPO (§3.2): w = 1/(B·L), L a constant      GSPO: GRPO's weights with s_i in place of ρ
* dual clip (Ye et al. 2020): for Â < 0 the surrogate is at least c·Â
* truncated importance sampling: c = min(π_old/π_sampler, C), no gradient, where another program drew the tokens

The weights come from the masks of a *whole* step (`token_weights`), so cutting it into micro-batches changes
nothing. Left out: advantages, KL estimators, the choice of a preset (`policy_loss`).

Shapes: B answers (groups of G in a row), T tokens.
"""

from typing import get_args

import torch
from torch import Tensor

from deepseek_lab.objectives.choices import Aggregation, RatioLevel

AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)


def log_ratios(logp_BT: Tensor, logp_old_BT: Tensor, mask_BT: Tensor, level: RatioLevel = "token") -> Tensor:
    """(B, T) log ρ, 0 outside the mask; of a whole answer the mean over its tokens, the same at each of them."""
    ratio_BT = torch.where(mask_BT, logp_BT - logp_old_BT, 0.0)
    if level == "token":
        return ratio_BT
    mean_B1 = ratio_BT.sum(1, keepdim=True) / mask_BT.sum(1, keepdim=True).clamp_min(1)
    return mean_B1 * mask_BT


def clipped_surrogate(
    log_ratio_BT: Tensor, advantage_BT: Tensor, clip_low: float, clip_high: float, dual_clip: float | None = None
) -> Tensor:
    """(B, T) what is to grow: min(ρÂ, clip(ρ)Â), and for Â < 0 at least `dual_clip`·Â."""
    ratio_BT = log_ratio_BT.exp()
    surrogate_BT = torch.minimum(ratio_BT * advantage_BT, ratio_BT.clamp(1 - clip_low, 1 + clip_high) * advantage_BT)
    if dual_clip is None:
        return surrogate_BT
    floor_BT = torch.maximum(surrogate_BT, dual_clip * advantage_BT)
    return torch.where(advantage_BT < 0, floor_BT, surrogate_BT)


def token_weights(mask_BT: Tensor, aggregation: Aggregation, group_size: int = 1, longest: int | None = None) -> Tensor:
    """(B, T) fp64 weight of each token in the loss of a step whose answers `mask_BT` are, 0 outside the mask.

    longest: L of `constant`, the length limit of generation. Raises ValueError when `constant` lacks it.
    """
    mask_BT = mask_BT.double()
    length_B1, batch = mask_BT.sum(1, keepdim=True), mask_BT.shape[0]
    if aggregation == "sequence_mean":
        return mask_BT / (length_B1.clamp_min(1) * batch)
    if aggregation == "token_mean":
        return mask_BT / length_B1.sum().clamp_min(1)
    if aggregation == "group_token_mean":
        of_group_N1 = length_B1.view(-1, group_size).sum(1, keepdim=True).clamp_min(1)
        return mask_BT / (of_group_N1.repeat_interleave(group_size, 0) * (batch // group_size))
    if longest is None:
        raise ValueError("a constant divisor needs the longest answer")
    return mask_BT / (batch * longest)


def truncated_importance(logp_old_BT: Tensor, logp_sampler_BT: Tensor, cap: float) -> Tensor:
    """(B, T) min(π_old/π_sampler, cap), without gradient."""
    return (logp_old_BT - logp_sampler_BT).exp().clamp_max(cap).detach()


def clip_shares(
    log_ratio_BT: Tensor, advantage_BT: Tensor, mask_BT: Tensor, clip_low: float, clip_high: float
) -> dict[str, Tensor]:
    """Share of the mask's tokens that clipping silences, below (Â < 0) and above (Â > 0)."""
    ratio_BT, n_tokens = log_ratio_BT.detach().exp(), mask_BT.sum().clamp_min(1)
    low_BT = (ratio_BT < 1 - clip_low) & (advantage_BT < 0) & mask_BT
    high_BT = (ratio_BT > 1 + clip_high) & (advantage_BT > 0) & mask_BT
    return {"clip_ratio/low_mean": low_BT.sum() / n_tokens, "clip_ratio/high_mean": high_BT.sum() / n_tokens}


def value_loss(
    value_BT: Tensor, value_old_BT: Tensor, return_BT: Tensor, weight_BT: Tensor, clip: float | None = 0.2
) -> tuple[Tensor, dict[str, Tensor]]:
    """½ Σ w·max((V - R)², (clip(V, V_old ± clip) - R)²), and the share of tokens where the clipped one is larger."""
    error_BT = (value_BT - return_BT).square()
    if clip is None:
        return (weight_BT * error_BT).sum() / 2, {"value/clip_ratio": error_BT.new_zeros(())}
    near_BT = value_old_BT + (value_BT - value_old_BT).clamp(-clip, clip)
    clipped_BT = (near_BT - return_BT).square()
    inside_BT = weight_BT > 0
    share = ((clipped_BT > error_BT) & inside_BT).sum() / inside_BT.sum().clamp_min(1)
    return (weight_BT * torch.maximum(error_BT, clipped_BT)).sum() / 2, {"value/clip_ratio": share}
