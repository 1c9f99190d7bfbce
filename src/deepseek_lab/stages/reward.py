"""Reward model: one number for a whole answer, learnt from which of two was preferred (InstructGPT §3.5).

    L = -log σ(r_w - r_l - m) + c (r_w + r_l)²,   r read at the answer's last token

The language model that the stage starts from gets a scalar head (`ValueModel`); its own head rests.

Left out: a ranking of more than two answers.

Shapes: P pairs, N = 2P answers, T1 tokens.
"""

from typing import Any

import torch
from torch import Tensor

from deepseek_lab.model.transformer import Transformer
from deepseek_lab.model.value_head import ValueModel, last_values
from deepseek_lab.objectives.preference import bradley_terry
from deepseek_lab.stages.pair_configs import RewardConfig
from deepseek_lab.stages.pairs import PairStage


class RewardStage(PairStage):
    """`RewardConfig(...).build(model, data, …)`, then `Trainer.fit`."""

    def __init__(self, config: RewardConfig, model: Transformer, data: Any, **loop: Any) -> None:
        super().__init__(ValueModel.around(model), data, **loop)
        self.config = config

    def pair_losses(self, micro: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """See `PairStage.pair_losses`."""
        chosen_P, rejected_P = answer_rewards(self.model, micro).unbind(1)
        return bradley_terry(chosen_P, rejected_P, self.config.margin, self.config.centring)


def answer_rewards(model: ValueModel, micro: Any) -> Tensor:
    """(P, 2) the reward of both answers of each pair."""
    tokens_NT1, inside_NT1 = micro.tokens_P2T1.flatten(0, 1), micro.inside_P2T1.flatten(0, 1)
    value_NT1, _ = model(tokens_NT1)
    n_answers = len(tokens_NT1)
    own_N1 = torch.arange(n_answers, device=tokens_NT1.device)[:, None]
    answer_NT1 = torch.where(inside_NT1, own_N1, n_answers)
    return last_values(value_NT1, answer_NT1, n_answers).view(-1, 2)
