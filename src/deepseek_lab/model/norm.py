"""RMSNorm: division by the root mean square, no mean subtracted, no bias.

y = x / sqrt(mean(x²) + eps) · g   (Zhang & Sennrich 2019, eq. 4), the only norm DeepSeek uses.

Shapes: B batch, T time, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Normalises the last dimension of any tensor to unit root mean square, then scales by `weight`."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(…, D) -> (…, D), in the dtype of x; torch's kernel accumulates the mean in fp32."""
        return F.rms_norm(x_BTD, self.weight.shape, self.weight.to(x_BTD.dtype), self.eps)
