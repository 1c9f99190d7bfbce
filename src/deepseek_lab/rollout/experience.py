"""The one record that crosses from rollout to training: answers as tensors, and what they are worth. No text.

Position t of a row predicts token t + 1 of it, so everything that belongs to a token stands where it is predicted.

Shapes: B answers (groups of G in a row), T1 tokens of question and answer, T = T1 - 1 positions, S steps, L mixture
layers, K experts a token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Sums = Mapping[str, tuple[float, float]]
"""By the name of a curve: a sum, and how many were summed."""


@dataclass(frozen=True, kw_only=True)
class Experience:
    """Answers to groups of one question each.

    tokens_BT1: question and answer, filled up on the right
    mask_BT: the answer's tokens, the one that ends it included
    logp_sampler_BT: of each such token, as it was drawn; 0 elsewhere
    answer_B: the reward, fp64; NaN where nobody could tell
    format_B: that for the form, where it is rewarded by itself
    parts: each part of the reward, unweighted; NaN where there is none
    step_reward_BS, step_end_BS: process supervision: NaN where an answer has fewer steps, and the position that
        predicts the token a step ends with
    truncated_B: answers that met the length limit; longest is that limit
    routing_BTLK: int16, the experts that read each token while it was drawn; None without mixtures
    sums: of all that was drawn, groups that were dropped included
    """

    tokens_BT1: Tensor
    mask_BT: Tensor
    logp_sampler_BT: Tensor
    answer_B: Tensor
    format_B: Tensor | None
    parts: Mapping[str, Tensor]
    step_reward_BS: Tensor
    step_end_BS: Tensor
    truncated_B: Tensor
    routing_BTLK: Tensor | None
    group_size: int
    longest: int
    sums: Sums = field(default_factory=dict)

    @property
    def length_B(self) -> Tensor:
        """(B,) tokens of each answer."""
        return self.mask_BT.sum(1)

    @property
    def n_groups(self) -> int:
        """Groups of `group_size` answers."""
        return len(self.answer_B) // self.group_size

    def to(self, device: torch.device) -> "Experience":
        """The same on `device`."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        parts = {name: part_B.to(device) for name, part_B in self.parts.items()}
        return Experience(**{**vars(self), **moved, "parts": parts})
