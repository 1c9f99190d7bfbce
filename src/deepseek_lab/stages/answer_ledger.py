"""What the last pass over an iteration's answers did with each of them, for the table that a person reads.

Shapes: B answers, T positions.
"""

import torch
from torch import Tensor

from deepseek_lab.objectives.policy_gradient import clipped_surrogate, log_ratios
from deepseek_lab.objectives.policy_loss import PolicyLoss
from deepseek_lab.stages.answers import ADVANTAGE, WEIGHT, Answers


class AnswerLedger:
    """(B,) numbers an answer; each pass writes those of its rows.

    advantage, ratio: means over the tokens; clipped: share of the tokens that the clip silences
    weight: the sum of |what each token adds to the loss|
    """

    def __init__(self, n_answers: int, loss: PolicyLoss, device: torch.device) -> None:
        self.loss = loss
        self._columns = torch.zeros(4, n_answers, dtype=torch.float64, device=device)

    @torch.no_grad()
    def note(self, micro: Answers, logp_BT: Tensor, old_BT: Tensor) -> None:
        """Takes in one pass."""
        mask_BT, advantage_BT, loss = micro.mask_BT, micro.columns[ADVANTAGE], self.loss
        log_ratio_BT = log_ratios(logp_BT, old_BT, mask_BT, loss.ratio)
        ratio_BT = log_ratio_BT.exp()
        low_BT = (ratio_BT < 1 - loss.clip_low) & (advantage_BT < 0)
        silenced_BT = low_BT | ((ratio_BT > 1 + loss.clip_high) & (advantage_BT > 0))
        gain_BT = clipped_surrogate(log_ratio_BT, advantage_BT, loss.clip_low, loss.clip_high, loss.dual_clip)
        length_B = mask_BT.sum(1).clamp_min(1)
        means = [(column_BT * mask_BT).sum(1) / length_B for column_BT in (advantage_BT, ratio_BT, silenced_BT)]
        weight_B = (gain_BT * micro.columns[WEIGHT] * mask_BT).abs().sum(1)
        self._columns[:, micro.index_B] = torch.stack([column_B.double() for column_B in (*means, weight_B)])

    def rows(self) -> list[dict[str, float]]:
        """One dict an answer: advantage, ratio, clipped, and its share of the whole loss."""
        advantage_B, ratio_B, clipped_B, weight_B = self._columns
        share_B = weight_B / weight_B.sum().clamp_min(1e-300)
        names = ("advantage", "ratio", "clipped", "loss_share")
        values = torch.stack([advantage_B, ratio_B, clipped_B, share_B], dim=1).tolist()
        return [dict(zip(names, row, strict=True)) for row in values]
