"""What one forward of the network gives: hidden states, logits on request, MTP states, routing.

Logits are computed only when asked for: with a vocabulary of 129,280 they are the largest tensor of a
step, and the chunked loss needs the hidden states and the head matrix instead.

Shapes: B batch, T time, D width, V vocabulary, E routed experts, K experts a token.
"""

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class RoutingStatistics:
    """What one router did with the tokens of one forward.

    affinity_BTE: fp32 with gradient, sigmoid scores (V3) or softmax probabilities (V2).
    chosen_BTK: the experts that ran. load_E: fp32 counts of tokens an expert got, no gradient.
    """

    layer: int
    affinity_BTE: Tensor
    chosen_BTK: Tensor
    load_E: Tensor


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
        return F.linear(self.hidden_BTD, self.head_weight_VD)

    def mtp_logits(self, depth: int) -> Tensor:
        """(B, T-depth, V) of one MTP module, depth counted from 1."""
        return F.linear(self.mtp_hidden[depth - 1], self.head_weight_VD)
