"""Learning from pairs of which one answer was preferred: Bradley-Terry rewards, and DPO with its relatives.

    Bradley-Terry   L = -log σ(r_w - r_l - margin) + c·(r_w + r_l)²     (InstructGPT eq. 1; the margin is Llama 2's,
                                                                         §3.2.2; the centring Eisenstein et al. 2023)
    h = (log π(y_w) - log π_ref(y_w)) - (log π(y_l) - log π_ref(y_l)),  each the sum over an answer's tokens
    DPO             L = -log σ(βh)                                      (Rafailov et al. 2023 eq. 7)
    cDPO            L = -(1-ε) log σ(βh) - ε log σ(-βh)                 (Mitchell 2023)
    robust DPO      L = [-(1-ε) log σ(βh) + ε log σ(-βh)] / (1-2ε)      (Chowdhury et al. 2024)
    IPO             L = (h - 1/(2β))²                                   (Azar et al. 2023 eq. 17; sums, as in the paper)

All return one loss a pair, so that the caller divides by the pairs of a whole step. Left out: more than two
answers to a prompt, length normalisation.

Shapes: P pairs.
"""

from typing import get_args

import torch.nn.functional as F
from torch import Tensor

from deepseek_lab.objectives.choices import PreferenceLoss

PREFERENCE_LOSSES: tuple[PreferenceLoss, ...] = get_args(PreferenceLoss)


def bradley_terry(
    chosen_P: Tensor, rejected_P: Tensor, margin_P: Tensor | float = 0.0, centring: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of each pair of rewards; metrics, each (P,), under their names in metrics.py."""
    loss_P = -F.logsigmoid(chosen_P - rejected_P - margin_P) + centring * (chosen_P + rejected_P).square()
    return loss_P, _reward_metrics(chosen_P, rejected_P)


def log_ratio_margin(
    chosen_P: Tensor, rejected_P: Tensor, reference_chosen_P: Tensor, reference_rejected_P: Tensor
) -> Tensor:
    """h of each pair, from the log-probabilities of whole answers."""
    return (chosen_P - reference_chosen_P) - (rejected_P - reference_rejected_P)


def preference_loss(
    chosen_P: Tensor,
    rejected_P: Tensor,
    reference_chosen_P: Tensor,
    reference_rejected_P: Tensor,
    beta: float,
    kind: PreferenceLoss = "dpo",
    flip_rate: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of each pair, from the log-probabilities of whole answers under policy and reference.

    flip_rate: ε, the share of labels that are taken to be the wrong way round (cdpo below 1, robust below 1/2).

    The metrics hold the implicit rewards β(log π - log π_ref). Raises ValueError for an ε that the loss has not.
    """
    if not 0 <= flip_rate < (0.5 if kind == "robust" else 1.0) or (flip_rate and kind in ("dpo", "ipo")):
        raise ValueError(f"{kind} has no flip rate of {flip_rate}")
    h_P = log_ratio_margin(chosen_P, rejected_P, reference_chosen_P, reference_rejected_P)
    rewards = beta * (chosen_P - reference_chosen_P), beta * (rejected_P - reference_rejected_P)
    return _loss_of_margin(h_P, beta, kind, flip_rate), _reward_metrics(*rewards)


def _loss_of_margin(h_P: Tensor, beta: float, kind: PreferenceLoss, flip_rate: float) -> Tensor:
    if kind == "ipo":
        return (h_P - 1 / (2 * beta)).square()
    as_labelled_P, flipped_P = -F.logsigmoid(beta * h_P), -F.logsigmoid(-beta * h_P)
    if kind == "robust":
        return ((1 - flip_rate) * as_labelled_P - flip_rate * flipped_P) / (1 - 2 * flip_rate)
    return (1 - flip_rate) * as_labelled_P + flip_rate * flipped_P  # dpo: the rate is 0


def _reward_metrics(chosen_P: Tensor, rejected_P: Tensor) -> dict[str, Tensor]:
    chosen_P, rejected_P = chosen_P.detach(), rejected_P.detach()
    return {
        "rewards/chosen": chosen_P,
        "rewards/rejected": rejected_P,
        "rewards/margins": chosen_P - rejected_P,
        "rewards/accuracies": (chosen_P > rejected_P).to(chosen_P.dtype),
    }
