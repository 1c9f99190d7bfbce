"""What one forward of the network gives: hidden states, logits on request, MTP states, routing.

Logits are computed only when asked for: with a vocabulary of 129,280 they are the largest tensor of a
step, and the chunked loss needs the hidden states and the head matrix instead.

Shapes: B batch, T time, D width, V vocabulary, E routed experts, K experts a token.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepseek_lab.model.linear import project


def loads(chosen: Tensor, n_experts: int) -> Tensor:
    """Chosen experts of any shape -> (E,) int64, how often each was."""
    flat = chosen.flatten()
    return torch.zeros(n_experts, dtype=torch.int64, device=flat.device).scatter_add_(0, flat, torch.ones_like(flat))


@dataclass(frozen=True)
class RoutingStatistics:
    """What one router did with the tokens of one forward.

    affinity_BTE: fp32 with gradient, sigmoid scores (V3) or softmax probabilities (V2).
    chosen_BTK: the experts that ran. layer: numbered by the Transformer, so that all layers share their code.
    """

    affinity_BTE: Tensor
    chosen_BTK: Tensor
    layer: int = -1

    @property
    def load_E(self) -> Tensor:
        """Tokens that each expert got, fp32, counted anew at each call."""
        return loads(self.chosen_BTK, self.affinity_BTE.shape[-1]).float()


@dataclass(frozen=True)
class ModelOutput:
    """hidden_BTD is after the final norm; mtp_hidden[k-1] is (B, T-k, D), after depth k's norm.

    mtp_source_BTD is the state that the first MTP module starts from: hidden_BTD, or that before the norm.
    Position i of depth k predicts token i + k + 1 (position i of hidden_BTD predicts token i + 1).
    """

    hidden_BTD: Tensor
    head_weight_VD: Tensor
    mtp_source_BTD: Tensor
    mtp_hidden: list[Tensor] = field(default_factory=list)
    routing: list[RoutingStatistics] = field(default_factory=list)

    @property
    def logits(self) -> Tensor:
        """(B, T, V), made anew at each call."""
        return project(self.hidden_BTD, self.head_weight_VD)

    def mtp_logits(self, depth: int) -> Tensor:
        """(B, T-depth, V) of one MTP module, depth counted from 1."""
        return project(self.mtp_hidden[depth - 1], self.head_weight_VD)
