"""How much better than expected each token was: generalised advantages, and those relative to a group.

    GAE       δ_t = r_t + γV_{t+1} - V_t,  Â_t = Σ_l (γλ)^l δ_{t+l}     (Schulman et al. 2016 eq. 16)
    outcome   Â_i = (r_i - mean r) / std r over the G answers to a prompt           (DeepSeekMath §4.1.2)
    process   r̃ = (r - mean R) / std R over *all steps of all answers* to a prompt;
              Â_{i,t} = Σ of r̃ over the steps of answer i that end at t or later    (DeepSeekMath §4.1.3)
    Dr. GRPO  Â_i = r_i - mean r: dividing by the spread favours prompts that are too easy or too hard

The papers do not say which standard deviation; like TRL, verl and oat this takes the sample's (G - 1) and adds
a small number to it. A reward that is NaN (an answer that could not be judged) leaves the mean and the
deviation, and its own advantage is 0.

A reward for form joins the one for the answer in one of three ways: `summed` (R1 §2.2.2: one sum, normalised once),
`separate` (each normalised alone, so that form cannot drown the answer), `gate` (a wrong form is worth nothing).

Shapes: B answers (groups of G in a row, N of them), T tokens, S steps of an answer.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from deepseek_lab.objectives.choices import AdvantageScale, RewardFormat


def generalised_advantages(
    rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, discount: float = 1.0, decay: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Advantages and returns (advantage + value) of each token, 0 outside the mask; `decay` is λ.

    mask_BT: True on an answer's tokens, which lie in a row; behind the last one the value is 0.
    """
    advantages_BT = torch.zeros_like(rewards_BT)
    ahead_B = next_value_B = rewards_BT.new_zeros(rewards_BT.shape[0])
    for t in reversed(range(rewards_BT.shape[1])):
        inside_B = mask_BT[:, t]
        delta_B = rewards_BT[:, t] + discount * next_value_B - values_BT[:, t]
        ahead_B = torch.where(inside_B, delta_B + discount * decay * ahead_B, 0.0)
        next_value_B = torch.where(inside_B, values_BT[:, t], 0.0)
        advantages_BT[:, t] = ahead_B
    return advantages_BT, (advantages_BT + values_BT) * mask_BT


def rewards_with_kl(score_B: Tensor, kl_BT: Tensor, mask_BT: Tensor, weight: float) -> Tensor:
    """PPO's reward of each token: -weight · kl, and the score at the last token (InstructGPT; DeepSeekMath eq. 2)."""
    last_BT = mask_BT & (mask_BT.cumsum(1) == mask_BT.sum(1, keepdim=True))
    return torch.where(mask_BT, -weight * kl_BT, 0.0) + last_BT * score_B[:, None]


def whitened(
    values_BT: Tensor, mask_BT: Tensor, epsilon: float = 1e-8, over_ranks: Callable[[Tensor], Tensor] = torch.clone
) -> Tensor:
    """Mean 0 and sample deviation 1 over all tokens of the mask, 0 outside; fewer than two stay as they are.

    over_ranks: the sum of a tensor over all processes that hold a part of the batch. Mean and deviation are then those
    of the whole batch: by its own, a process with easy questions would call half of its good answers bad.
    """
    inside_BT = torch.where(mask_BT.bool(), values_BT, 0.0).double()
    count, total = over_ranks(torch.stack([mask_BT.sum().double(), inside_BT.sum()]))
    if count < 2:
        return values_BT * mask_BT
    centred_BT = (inside_BT - total / count) * mask_BT
    deviation = (over_ranks(centred_BT.square().sum()) / (count - 1)).sqrt()
    whitened_BT: Tensor = centred_BT / (deviation + epsilon)
    return whitened_BT.to(values_BT.dtype)


def joined_rewards(answer_B: Tensor, format_B: Tensor | None, how: RewardFormat) -> Tensor:
    """(B,) one reward an answer; of `separate` it is the curve's alone, the parts being normalised apart."""
    if format_B is None:
        return answer_B
    return answer_B * (format_B > 0) if how == "gate" else answer_B + format_B


def outcome_advantages(
    reward_B: Tensor, group_size: int, scale: AdvantageScale = "group", epsilon: float = 1e-4
) -> Tensor:
    """(B,) advantage of each answer relative to its group; 0 for all of a group without spread."""
    rewards_NG = reward_B.view(-1, group_size)
    normal_NG = _normalised(rewards_NG, scale, epsilon)
    return normal_NG.reshape(-1)


def process_advantages(
    step_reward_BS: Tensor,
    step_end_BS: Tensor,
    n_tokens: int,
    group_size: int,
    scale: AdvantageScale = "group",
    epsilon: float = 1e-4,
) -> Tensor:
    """(B, T) advantages from rewards of steps, T being `n_tokens`.

    step_reward_BS: NaN where an answer has fewer steps. step_end_BS: index of the token that ends a step.
    """
    n_steps = step_reward_BS.shape[1]
    normal_BS = _normalised(step_reward_BS.view(-1, group_size * n_steps), scale, epsilon).view(-1, n_steps)
    at_end_BT = normal_BS.new_zeros(normal_BS.shape[0], n_tokens)
    at_end_BT.scatter_add_(1, step_end_BS.clamp(0, n_tokens - 1), normal_BS)
    return at_end_BT.flip(1).cumsum(1).flip(1)


def groups_with_spread(reward_B: Tensor, group_size: int, tolerance: float = 0.0) -> Tensor:
    """(N,) whether max - min of a group's rewards is above `tolerance`: DAPO keeps only those (eq. 11).

    For rewards of right and wrong alone this is 0 < right < G. Not the deviation: rounding makes that of equal
    numbers other than 0. A group with nothing judged has no spread.
    """
    rewards_NG = reward_B.view(-1, group_size)
    unjudged_NG = rewards_NG.isnan()
    most_N = rewards_NG.masked_fill(unjudged_NG, -torch.inf).amax(1)
    least_N = rewards_NG.masked_fill(unjudged_NG, torch.inf).amin(1)
    return most_N - least_N > tolerance


def _normalised(values_NK: Tensor, scale: AdvantageScale, epsilon: float) -> Tensor:
    """Each row less its mean, over its deviation where asked for; NaN counts for nothing and becomes 0."""
    judged_NK = ~values_NK.isnan()
    count_N1 = judged_NK.sum(1, keepdim=True)
    mean_N1 = values_NK.nansum(1, keepdim=True) / count_N1.clamp_min(1)
    centred_NK = torch.where(judged_NK, values_NK - mean_N1, 0.0)
    # Equal rewards have a rounding error for a mean; divided by ε it would be an advantage.
    rounding_N1 = values_NK.nan_to_num().abs().amax(1, keepdim=True) * torch.finfo(values_NK.dtype).eps * 4
    centred_NK = torch.where(centred_NK.abs().amax(1, keepdim=True) > rounding_N1, centred_NK, 0.0)
    if scale == "none":
        return centred_NK
    deviation_N1 = (centred_NK.square().sum(1, keepdim=True) / (count_N1 - 1).clamp_min(1)).sqrt()
    return centred_NK / (deviation_N1 + epsilon)
