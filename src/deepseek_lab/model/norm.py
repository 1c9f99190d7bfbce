"""RMSNorm: division by the root mean square, no mean subtracted, no bias.

y = x / sqrt(mean(x²) + eps) · g   (Zhang & Sennrich 2019, eq. 4), the only norm DeepSeek uses.

On accelerators torch's kernel does it. On a CPU torch composes the gradient from a dozen passes over
memory, so there the few that are needed are written out (three times as fast, forward and backward).

Shapes: B batch, T time, N rows (any leading dimensions), D width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_lab.seams import recomputable


def _inverse_rms(x_ND: Tensor, eps: float) -> Tensor:
    mean_square_N1 = torch.linalg.vector_norm(x_ND, dim=-1, keepdim=True).square_().div_(x_ND.shape[-1])
    inverse_rms_N1: Tensor = mean_square_N1.add_(eps).rsqrt_()
    return inverse_rms_N1


class _RMSNormOnCPU(torch.autograd.Function):
    """With r = 1/rms and s = g·dy:  dx = r·s - x·r³·mean(s·x),  dg = Σ_n r·x·dy."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        inverse_rms_N1 = _inverse_rms(x_ND, eps)
        ctx.save_for_backward(x_ND, weight_D, inverse_rms_N1)
        y_ND: Tensor = x_ND * inverse_rms_N1
        return y_ND.mul_(weight_D)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x_ND, weight_D, inverse_rms_N1 = ctx.saved_tensors
        inverse_N, width = inverse_rms_N1.flatten(), x_ND.shape[-1]
        x_rows, grad_rows = x_ND.flatten(0, -2), grads[0].flatten(0, -2)
        buffer_ND = x_rows * grad_rows
        grad_weight_D = inverse_N @ buffer_ND
        pull_N = (buffer_ND @ weight_D).mul_(inverse_N**3).div_(-width)
        grad_x_ND = torch.mul(grad_rows, weight_D, out=buffer_ND).mul_(inverse_N[:, None])
        return grad_x_ND.addcmul_(x_rows, pull_N[:, None]).view(x_ND.shape), grad_weight_D, None


class RMSNorm(nn.Module):
    """Normalises the last dimension of any tensor to unit root mean square, then scales by `weight`."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(…, D) -> (…, D), in the dtype of x; the mean is accumulated in at least fp32."""
        return recomputable(self._normalised, x_BTD)

    def _normalised(self, x_BTD: Tensor) -> Tensor:
        weight_D = self.weight.to(x_BTD.dtype)
        if x_BTD.device.type == "cpu" and x_BTD.dtype in (torch.float32, torch.float64):
            if torch.is_grad_enabled():
                out: Tensor = _RMSNormOnCPU.apply(x_BTD, weight_D, self.eps)  # type: ignore[no-untyped-call]
                return out
            return x_BTD * _inverse_rms(x_BTD, self.eps) * weight_D
        return F.rms_norm(x_BTD, weight_D.shape, weight_D, self.eps)
