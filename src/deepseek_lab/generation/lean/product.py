"""The two things that a step does again and again, with nothing around them: products with a matrix, and norms.

A decoding step is some hundred small operations, and what Python and torch do around each costs as much as the
numbers: a module's call, its checks, a view. So what a step needs to know is looked up once.

Shapes: N rows, I input width, O output width, D width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from deepseek_lab.model.linear import Linear, product_of_few, project
from deepseek_lab.model.norm import RMSNorm

Layer = Callable[[Tensor], Tensor]
"""(N, I) -> (N, O)."""


def product(linear: nn.Module, streams: bool) -> Layer:
    """A linear layer's product; one that a precision recipe has replaced is called as it is.

    streams: whether weights come from memory, see `Prepared`
    """
    if type(linear) is not Linear:
        return linear
    weight_OI, bias_O = linear.weight, linear.bias

    def call(x_NI: Tensor) -> Tensor:
        if not streams or x_NI.shape[0] > 2:
            return project(x_NI, weight_OI, bias_O)
        y_NO = product_of_few(x_NI, weight_OI)
        return y_NO if bias_O is None else y_NO + bias_O

    return call


def norm(module: RMSNorm) -> Layer:
    """x / sqrt(|x|²/D + eps) · g in five operations."""
    weight_D, share = module.weight, 1 / module.weight.shape[0]
    eps_11 = torch.full((1, 1), module.eps, dtype=weight_D.dtype)

    def call(x_ND: Tensor) -> Tensor:
        length_N1 = torch.linalg.vector_norm(x_ND, dim=-1, keepdim=True)
        return torch.addcmul(eps_11, length_N1, length_N1, value=share).rsqrt_().mul(x_ND).mul_(weight_D)

    return call
