"""The dense feed-forward network: SwiGLU (Shazeer 2020, eq. 6), as in every DeepSeek model.

y = W_down·(silu(W_gate·x) ⊙ W_up·x). Gate and up are one matrix, gate rows first, so that the layer
is two matrix products instead of three.

Shapes: N rows (any leading dimensions), D width, I intermediate width.
"""

from typing import Any, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_lab.model.ffn.dense_config import DenseFeedForwardConfig
from deepseek_lab.model.linear import Linear
from deepseek_lab.seams import Nonlinearity


class _SwiGLU(torch.autograd.Function):
    """silu(gate)·up that keeps only its input: autograd's own would also keep silu(gate)."""

    @staticmethod
    def forward(ctx: Any, gate_up_NX: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up_NX)
        gate_NI, up_NI = gate_up_NX.chunk(2, dim=-1)
        return F.silu(gate_NI).mul_(up_NI)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad_NI,) = grads
        (gate_up_NX,) = ctx.saved_tensors
        gate_NI, up_NI = gate_up_NX.chunk(2, dim=-1)
        grad_NX = torch.empty_like(gate_up_NX)
        to_gate_NI, to_up_NI = grad_NX.chunk(2, dim=-1)
        work_NI = F.silu(gate_NI)
        torch.mul(grad_NI, work_NI, out=to_up_NI)
        torch.mul(grad_NI, up_NI, out=work_NI)
        torch.ops.aten.silu_backward(work_NI, gate_NI, grad_input=to_gate_NI)
        return grad_NX


def swiglu(gate_up_NX: Tensor) -> Tensor:
    """(…, 2I) with the gate first -> (…, I): silu(gate) ⊙ up; the backward recomputes silu."""
    if not torch.is_grad_enabled():
        gate_NI, up_NI = gate_up_NX.chunk(2, dim=-1)
        return F.silu(gate_NI).mul_(up_NI)
    out: Tensor = _SwiGLU.apply(gate_up_NX)  # type: ignore[no-untyped-call]
    return out


class FeedForwardConfig(Protocol):
    """What a Transformer needs to know of an FFN's Config."""

    def build(self, dim: int, *, layer_index: int) -> nn.Module:
        """The module of one layer: x -> y, or x -> (y, RoutingStatistics) for a mixture."""
        ...


class DenseFeedForward(nn.Module):
    """SwiGLU of one width in every layer."""

    Config: TypeAlias = DenseFeedForwardConfig

    def __init__(self, dim: int, intermediate_size: int, bias: bool = False) -> None:
        super().__init__()
        self.gate_up = Linear(dim, 2 * intermediate_size, bias=bias)
        self.swiglu = Nonlinearity(swiglu)
        self.down = Linear(intermediate_size, dim, bias=bias)

    def forward(self, x_ND: Tensor) -> Tensor:
        """(…, D) -> (…, D)."""
        out: Tensor = self.down(self.swiglu(self.gate_up(x_ND)))
        return out
