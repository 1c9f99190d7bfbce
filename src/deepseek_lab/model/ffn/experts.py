"""The routed experts: every expert's SwiGLU over its own tokens, as two grouped products.

Tokens are sorted by expert, all experts run in one `grouped_mm` each way, and the results return
to their tokens weighted. No loop over experts: the cost does not grow with their number until the
weights themselves are the traffic. Decoding has a few rows an expert, and there a loop is quicker (`few_tokens`).

Shapes: N tokens, K experts a token, M = N·K sorted rows, D width, E experts, I expert width,
X = 2I.
"""

from typing import Any

import torch
from torch import Tensor, nn

from deepseek_lab.model.ffn.dense import swiglu
from deepseek_lab.model.ffn.few_tokens import experts_of_few
from deepseek_lab.model.linear import FEW, prepared_for
from deepseek_lab.model.output import loads
from deepseek_lab.seams import GroupedMatmul, Nonlinearity, recomputable


class Experts(nn.Module):
    """E SwiGLU networks in two stacked parameters, gate rows first in `gate_up_EXD`."""

    def __init__(self, dim: int, n_experts: int, intermediate_size: int) -> None:
        super().__init__()
        self.n_experts = n_experts
        self.gate_up_EXD = nn.Parameter(torch.empty(n_experts, 2 * intermediate_size, dim))
        self.down_EDI = nn.Parameter(torch.empty(n_experts, dim, intermediate_size))
        self.gate_up_matmul = GroupedMatmul()
        self.weighted_swiglu = Nonlinearity(_weighted_swiglu)
        self.down_matmul = GroupedMatmul()

    def forward(self, x_ND: Tensor, weight_NK: Tensor, chosen_NK: Tensor) -> Tensor:
        """Σ_k weight_k · expert_k(x) for each token -> (N, D)."""
        if self._suits_few(x_ND, chosen_NK):
            return experts_of_few(x_ND, weight_NK, chosen_NK, self.gate_up_EXD, self.down_EDI)
        order_M = chosen_NK.flatten().argsort(stable=True)
        token_M = order_M // chosen_NK.shape[1]
        ends_E = loads(chosen_NK, self.n_experts).cumsum(0).to(torch.int32)
        rows_MD = recomputable(torch.index_select, x_ND, 0, token_M)
        gate_up_MX = self.gate_up_matmul(rows_MD, self.gate_up_EXD, ends_E)
        hidden_MI = self.weighted_swiglu(gate_up_MX, weight_NK.flatten()[order_M])
        y_MD = self.down_matmul(hidden_MI, self.down_EDI, ends_E)
        out: Tensor = _SumByToken.apply(y_MD, token_M, x_ND.shape[0])  # type: ignore[no-untyped-call]
        return out

    def _suits_few(self, x_ND: Tensor, chosen_NK: Tensor) -> bool:
        """Whether their products are quicker one by one; no recipe rounds them."""
        prepared = prepared_for(x_ND, self.gate_up_EXD)
        plain = type(self.gate_up_matmul) is GroupedMatmul and type(self.down_matmul) is GroupedMatmul
        if prepared is None or not plain:
            return False
        few = chosen_NK.numel() <= FEW * self.n_experts or torch.compiler.is_compiling()
        return prepared.streams and (few or prepared.packs)


class _SumByToken(torch.autograd.Function):
    """Row n is the sum of the rows m with token m = n; torch's `index_add` would keep all rows for their shape."""

    @staticmethod
    def forward(ctx: Any, y_MD: Tensor, token_M: Tensor, n_tokens: int) -> Tensor:
        ctx.save_for_backward(token_M)
        return y_MD.new_zeros(n_tokens, y_MD.shape[1]).index_add_(0, token_M, y_MD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (token_M,) = ctx.saved_tensors
        return grads[0].index_select(0, token_M), None, None


def _weighted_swiglu(gate_up_MX: Tensor, weight_M: Tensor) -> Tensor:
    """W(w·h) = w·(Wh): weighting the narrow hidden rows touches less memory than the wide results."""
    hidden_MI = recomputable(swiglu, gate_up_MX)
    return hidden_MI * weight_M.to(hidden_MI.dtype)[:, None]
