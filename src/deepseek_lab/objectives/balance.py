"""Expert balance: DeepSeek's auxiliary losses and the rule that needs none.

All losses have one shape, α · Σ_i f_i·P_i: f_i the share of tokens that went to expert (or device) i,
a count without gradient, scaled so that 1 is a perfect share; P_i the mean affinity, which carries the
gradient. Perfect balance gives exactly α.

* sequence-wise   DeepSeek-V3 eq. 17-20: f from the top K of the affinities *without* the selection bias
* batch-wise      DeepSeek-V3 §4.5.3: the same formula over the whole micro-batch
* expert, device, communication   DeepSeek-V2 eq. 23-31: f from the experts really chosen, per sequence
* auxiliary-loss-free   DeepSeek-V3 §2.1.2: after each step a bias moves by ±γ; it enters the choice alone

Everything here works on one MoE layer. Left out: token dropping, and the reduction of the load over
micro-batches and ranks, which the stage does before it calls `updated_bias`.

Shapes: B sequences, T positions, E routed experts, K experts a token, G devices (groups of E / G experts).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from deepseek_lab.objectives.balance_config import Balance as Balance


def balance_losses(
    affinity_BTE: Tensor, chosen_BTK: Tensor, valid_BT: Tensor | None, config: Balance
) -> tuple[Tensor, dict[str, Tensor]]:
    """The auxiliary losses of one layer that `config` switches on: their sum, and each one detached.

    affinity_BTE: sigmoid or softmax scores, with their gradient. chosen_BTK: the experts really used.
    valid_BT: False leaves a token out; None counts all. A loss with α = 0 is not computed.
    Raises ConfigError where n_devices does not divide the experts.
    """
    config.check_experts(affinity_BTE.shape[-1])
    parts: dict[str, Tensor] = {}
    if config.sequence_wise_alpha:
        parts["sequence_wise"] = config.sequence_wise_alpha * sequence_wise_loss(
            affinity_BTE, chosen_BTK.shape[-1], valid_BT
        )
    if config.batch_wise_alpha:
        parts["batch_wise"] = config.batch_wise_alpha * batch_wise_loss(affinity_BTE, chosen_BTK.shape[-1], valid_BT)
    if config.expert_alpha:
        parts["expert"] = config.expert_alpha * expert_loss(affinity_BTE, chosen_BTK, valid_BT)
    if config.device_alpha:
        parts["device"] = config.device_alpha * device_loss(affinity_BTE, chosen_BTK, valid_BT, config.n_devices)
    if config.communication_alpha:
        parts["communication"] = config.communication_alpha * communication_loss(
            affinity_BTE, chosen_BTK, valid_BT, config.n_devices, config.n_limited_devices
        )
    total = torch.stack(list(parts.values())).sum() if parts else affinity_BTE.new_zeros(())
    return total, {name: part.detach() for name, part in parts.items()}


def sequence_wise_loss(affinity_BTE: Tensor, n_activated: int, valid_BT: Tensor | None = None) -> Tensor:
    """DeepSeek-V3 eq. 17-20 without its α: Σ_i f_i·P_i of each sequence, then the mean over sequences.

    f counts the top K of the affinities, without selection bias and without groups, as eq. 18 is written.
    """
    top_BTK = affinity_BTE.detach().topk(n_activated, dim=-1).indices
    return expert_loss(affinity_BTE, top_BTK, valid_BT)


def batch_wise_loss(affinity_BTE: Tensor, n_activated: int, valid_BT: Tensor | None = None) -> Tensor:
    """DeepSeek-V3 §4.5.3 without its α: the sequence-wise formula with the micro-batch as one sequence."""
    one_sequence = None if valid_BT is None else valid_BT.reshape(1, -1)
    return sequence_wise_loss(affinity_BTE.reshape(1, -1, affinity_BTE.shape[-1]), n_activated, one_sequence)


def expert_loss(affinity_BTE: Tensor, chosen_BTK: Tensor, valid_BT: Tensor | None = None) -> Tensor:
    """DeepSeek-V2 eq. 23-25 without its α: Σ_i f_i·P_i with f_i = E/(K·T) · (tokens that chose expert i)."""
    weight_BT = _token_weights(affinity_BTE, valid_BT)
    f_BE = _expert_share(chosen_BTK, weight_BT, affinity_BTE.shape[-1])
    return _mean_over_sequences(f_BE * _mean_affinity(affinity_BTE, weight_BT), weight_BT)


def device_loss(affinity_BTE: Tensor, chosen_BTK: Tensor, valid_BT: Tensor | None, n_devices: int) -> Tensor:
    """DeepSeek-V2 eq. 26-28 without its α: f' the mean of f over a device's experts, P' the sum of P."""
    weight_BT = _token_weights(affinity_BTE, valid_BT)
    f_BE = _expert_share(chosen_BTK, weight_BT, affinity_BTE.shape[-1])
    f_BG = f_BE.unflatten(1, (n_devices, -1)).mean(-1)
    return _mean_over_sequences(f_BG * _device_affinity(affinity_BTE, weight_BT, n_devices), weight_BT)


def communication_loss(
    affinity_BTE: Tensor, chosen_BTK: Tensor, valid_BT: Tensor | None, n_devices: int, n_limited_devices: int
) -> Tensor:
    """DeepSeek-V2 eq. 29-31 without its α: f''_d = D/(M·T) · (tokens sent to device d), P'' = P'.

    A token with several experts on a device is sent there once.
    """
    weight_BT = _token_weights(affinity_BTE, valid_BT)
    device_BTK = chosen_BTK // (affinity_BTE.shape[-1] // n_devices)
    sent_BTG = F.one_hot(device_BTK, n_devices).amax(dim=2)
    f_BG = (sent_BTG * weight_BT[..., None]).sum(1) * (n_devices / n_limited_devices)
    return _mean_over_sequences(f_BG * _device_affinity(affinity_BTE, weight_BT, n_devices), weight_BT)


def updated_bias(bias_E: Tensor, load_E: Tensor, speed: float) -> Tensor:
    """The auxiliary-loss-free rule: an expert above the mean load loses `speed`, one below gains it.

    load_E: tokens of the whole global batch that went to each expert, over all micro-batches and ranks.
    """
    load_E = load_E.to(bias_E.dtype)
    return bias_E + speed * torch.sign(load_E.mean(-1, keepdim=True) - load_E)


def load_max_over_mean(load_E: Tensor) -> Tensor:
    """(…, E) counts -> (…): the busiest expert over the mean, 1 when balanced (MaxVio is this minus 1)."""
    load_E = load_E.float()
    return load_E.amax(-1) / load_E.mean(-1).clamp_min(torch.finfo(load_E.dtype).tiny)


def load_entropy(load_E: Tensor) -> Tensor:
    """(…, E) counts -> (…): entropy of the load over ln E, 1 when balanced, 0 when one expert does all."""
    share_E = load_E.float() / load_E.sum(-1, keepdim=True).clamp_min(1)
    entropy: Tensor = torch.special.entr(share_E).sum(-1) / math.log(max(load_E.shape[-1], 2))
    return entropy


def _token_weights(affinity_BTE: Tensor, valid_BT: Tensor | None) -> Tensor:
    """(B, T) weights 1/T over the T counted tokens of each sequence, 0 elsewhere."""
    counted_BT = affinity_BTE.new_ones(affinity_BTE.shape[:2]) if valid_BT is None else valid_BT.to(affinity_BTE.dtype)
    return counted_BT / counted_BT.sum(1, keepdim=True).clamp_min(1)


def _expert_share(chosen_BTK: Tensor, weight_BT: Tensor, n_experts: int) -> Tensor:
    """f_i of each sequence, 1 for a fair share: E/K · Σ_t w_t · 1(token t chose expert i). No gradient."""
    weight_BTK = weight_BT[..., None].expand_as(chosen_BTK)
    counted_BE = weight_BT.new_zeros(chosen_BTK.shape[0], n_experts)
    counted_BE.scatter_add_(1, chosen_BTK.flatten(1), weight_BTK.flatten(1))
    return counted_BE * (n_experts / chosen_BTK.shape[-1])


def _mean_affinity(affinity_BTE: Tensor, weight_BT: Tensor) -> Tensor:
    """P_i of each sequence: the mean affinity, each token's normalised to sum to 1 (a softmax already does)."""
    share_BTE = affinity_BTE / affinity_BTE.sum(-1, keepdim=True)
    return (share_BTE * weight_BT[..., None]).sum(1)


def _device_affinity(affinity_BTE: Tensor, weight_BT: Tensor, n_devices: int) -> Tensor:
    """P'_d of each sequence: the affinities of a device's experts together."""
    affinity_BGE: Tensor = _mean_affinity(affinity_BTE, weight_BT).unflatten(1, (n_devices, -1))
    return affinity_BGE.sum(-1)


def _mean_over_sequences(product_BX: Tensor, weight_BT: Tensor) -> Tensor:
    """Sums over experts or devices, then averages over the sequences that hold a counted token."""
    counted = (weight_BT.sum(1) > 0).sum().clamp_min(1)
    return product_BX.sum() / counted
