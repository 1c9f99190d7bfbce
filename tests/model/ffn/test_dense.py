"""SwiGLU: its formula, and the hand-written gradient against autograd's and finite differences."""

import pytest
import torch
import torch.nn.functional as F

from deepseek_lab.config import ConfigError
from deepseek_lab.model.ffn.dense import DenseFeedForward, swiglu


def drawn(*shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.requires_grad_()


def test_gradient_is_autograds():
    x = drawn(3, 5, 8)
    assert torch.autograd.gradcheck(swiglu, x)
    weight = torch.linspace(-1, 1, 60, dtype=torch.float64).view(3, 5, 4)
    (got,) = torch.autograd.grad((swiglu(x) * weight).sum(), x)
    gate, up = x.chunk(2, dim=-1)
    plain = F.silu(gate) * up
    (wanted,) = torch.autograd.grad((plain * weight).sum(), x)
    torch.testing.assert_close(swiglu(x), plain, atol=0, rtol=0)
    torch.testing.assert_close(got, wanted, atol=1e-14, rtol=0)


def test_layer_is_the_formula_with_the_gate_first():
    torch.manual_seed(0)
    layer = DenseFeedForward.Config(intermediate_size=6).build(5, layer_index=0)
    gate, up = layer.gate_up.weight[:6], layer.gate_up.weight[6:]
    x = torch.randn(2, 3, 5)
    wanted = (F.silu(x @ gate.T) * (x @ up.T)) @ layer.down.weight.T
    torch.testing.assert_close(layer(x), wanted)


def test_refuses_no_width():
    with pytest.raises(ConfigError, match=r"^intermediate_size must be at least 1, not 0$"):
        DenseFeedForward.Config(intermediate_size=0)
