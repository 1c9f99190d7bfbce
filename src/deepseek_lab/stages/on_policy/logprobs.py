"""Log-probabilities of sampled answers under a network, at the temperature they were sampled at.

A pass may read each prompt once (`shared_prompts`). The head is computed at the answers' tokens alone, not at those of
the questions nor at what fills rows up.

Shapes: B answers, T positions, N tokens of answers, D width, V vocabulary, L mixture layers, K experts a token.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepseek_lab.model.output import ModelOutput
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.logprobs import hidden_logprobs
from deepseek_lab.stages.on_policy.answers import Answers, placed
from deepseek_lab.stages.on_policy.shared_prompts import SharedPass


def answer_logprobs(
    model: Transformer, micro: Answers, temperature: float, mtp: bool = False, chosen_BTLK: Tensor | None = None
) -> tuple[Tensor, Tensor, ModelOutput]:
    """(B, T) log-probabilities with gradient and entropies without, 0 outside the mask; and all of the forward.

    chosen_BTLK: the experts to use instead of choosing.
    """
    mask_BT, targets_BT = micro.mask_BT, micro.tokens_BT1[:, 1:]
    if micro.shares_prompts:
        row = SharedPass.of(micro)
        output = row.forward(model, micro, chosen_BTLK)
        hidden_1ND = output.hidden_BTD.index_select(1, row.place_BT[mask_BT])
    else:
        output = model(micro.tokens_BT1[:, :-1], mtp=mtp, chosen_BTLK=chosen_BTLK)
        hidden_1ND = output.hidden_BTD[mask_BT][None]
    targets_1N = targets_BT[mask_BT][None]
    logp_1N, entropy_1N = hidden_logprobs(hidden_1ND, output.head_weight_VD, targets_1N, temperature)
    empty_BT = logp_1N.new_zeros(mask_BT.shape)
    return empty_BT.masked_scatter(mask_BT, logp_1N), empty_BT.masked_scatter(mask_BT, entropy_1N), output


@torch.no_grad()
def whole_logprobs(model: Transformer, answers: Answers, passes: Sequence[Answers], temperature: float) -> Tensor:
    """(B, T) log-probabilities of all answers, pass by pass, without gradient."""
    return placed(answers, ((micro, answer_logprobs(model, micro, temperature)[0]) for micro in passes))


def mtp_losses(output: ModelOutput, micro: Answers) -> list[Tensor]:
    """For each depth k the sum of -log p_k over the answers' tokens that have k tokens before the one they follow."""
    losses = []
    for depth, hidden_BTD in enumerate(output.mtp_hidden, start=1):
        mask_BT, targets_BT = micro.mask_BT[:, depth:], micro.tokens_BT1[:, depth + 1 :]
        hidden_1ND, targets_1N = hidden_BTD[mask_BT][None], targets_BT[mask_BT][None]
        losses.append(-hidden_logprobs(hidden_1ND, output.head_weight_VD, targets_1N)[0].sum())
    return losses
