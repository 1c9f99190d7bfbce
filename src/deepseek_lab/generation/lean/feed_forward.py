"""The feed-forward networks of one new token a row: SwiGLU, and the mixture of experts.

A single row needs each of its experts for two products and nothing else: their hidden rows are made side by side, and
every second product adds to the sum of those before. More rows go through `Experts` as they are.

Shapes: N rows, D width, K experts a token, I expert width, X = 2I.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from deepseek_lab.generation.lean.product import Layer, product
from deepseek_lab.model.ffn.dense import DenseFeedForward, swiglu
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.seams import GroupedMatmul


def lean_dense(ffn: DenseFeedForward, streams: bool) -> Layer:
    """W_down·(silu(W_gate·x) ⊙ W_up·x)."""
    gate_up, down = product(ffn.gate_up, streams), product(ffn.down, streams)
    return lambda x_ND: down(swiglu(gate_up(x_ND)))


class LeanMixture:
    """(N, D) -> (N, D), routed and shared experts."""

    def __init__(self, mixture: MixtureOfExperts, streams: bool) -> None:
        self.router, self.experts = mixture.router.forward, mixture.experts.forward
        self.shared = None if mixture.shared is None else lean_dense(mixture.shared, streams)
        matmuls = mixture.experts.gate_up_matmul, mixture.experts.down_matmul
        self.alone = streams and all(type(matmul) is GroupedMatmul for matmul in matmuls)
        self.gate_up_XD, self.down_DI = mixture.experts.gate_up_EXD.unbind(0), mixture.experts.down_EDI.unbind(0)

    def __call__(self, x_ND: Tensor, noted: list[Tensor] | None) -> Tensor:
        """noted: takes the experts that ran, (N, K)"""
        _, weight_NK, chosen_NK = self.router(x_ND)
        if noted is not None:
            noted.append(chosen_NK)
        if self.alone and x_ND.shape[0] == 1:
            y_ND = self._of_one(x_ND, weight_NK, chosen_NK[0].tolist())
        else:
            y_ND = self.experts(x_ND, weight_NK, chosen_NK)
        return y_ND if self.shared is None else y_ND + self.shared(x_ND)

    def _of_one(self, x_1D: Tensor, weight_1K: Tensor, chosen: Sequence[int]) -> Tensor:
        """Twice the same row, the quick way round of `model.linear`; the second result is dropped."""
        x_D2 = torch.cat((x_1D, x_1D)).t()
        gate_KI2, up_KI2 = torch.stack([torch.mm(self.gate_up_XD[e], x_D2) for e in chosen]).chunk(2, dim=1)
        hidden_KI2 = F.silu(gate_KI2).mul_(up_KI2).mul_(weight_1K.view(-1, 1, 1))
        first, *others = hidden_KI2.mT.contiguous().unbind(0)
        y_D2 = torch.mm(self.down_DI[chosen[0]], first.t())
        for expert, hidden_2I in zip(chosen[1:], others, strict=True):
            y_D2.addmm_(self.down_DI[expert], hidden_2I.t())
        return y_D2.t()[:1]
