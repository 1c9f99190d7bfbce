"""SwiGLU that keeps its input in FP8: the forward is exact, the backward is that of the kept input."""

import pytest
import torch
from torch import nn

from deepseek_lab.model.ffn.dense import DenseFeedForward, swiglu
from deepseek_lab.precision.applying import apply
from deepseek_lab.precision.nonlinearity import source_of
from deepseek_lab.precision.quantise import Rounding, quantise
from precision_recipes import fp8


def feed_forward(recipe, name="ffn"):
    torch.manual_seed(0)
    model = nn.ModuleDict({name: DenseFeedForward(96, 160)})
    apply(model, recipe)
    return model[name]


def test_forward_is_exact_and_the_derivative_is_taken_at_the_kept_input():
    ffn = feed_forward(fp8())
    x = torch.randn(2, 5, 320, requires_grad=True)
    y = ffn.swiglu(x)
    assert torch.equal(y, swiglu(x))
    grad = torch.randn_like(y)
    y.backward(grad)
    kept = quantise(x.detach().view(10, 320), Rounding("1x128", smallest_amax=1e-4)).values.view_as(x).requires_grad_()
    swiglu(kept).backward(grad)
    assert torch.equal(x.grad, kept.grad)
    assert not torch.equal(kept, x)


def test_the_linear_behind_multiplies_the_output_made_again():
    """Wgrad of the down projection, from the kept input: not from the hidden state of the forward."""
    ffn = feed_forward(fp8())
    x, dy = torch.randn(12, 96), torch.randn(12, 96)
    ffn(x).backward(dy)
    gate_up = ffn.gate_up(x).detach()
    kept = quantise(gate_up, Rounding("1x128", smallest_amax=1e-4)).values
    hidden = quantise(swiglu(kept), Rounding("128x1", smallest_amax=1e-4)).values
    expected = quantise(dy, Rounding("128x1")).values.t() @ hidden
    assert torch.allclose(ffn.down.weight.grad, expected, atol=1e-6)
    straight = quantise(swiglu(gate_up), Rounding("128x1", smallest_amax=1e-4)).values
    assert not torch.allclose(ffn.down.weight.grad, quantise(dy, Rounding("128x1")).values.t() @ straight, atol=1e-4)


def test_without_gradients_nothing_is_kept():
    ffn = feed_forward(fp8())
    with torch.no_grad():
        assert source_of(ffn.swiglu(torch.randn(3, 320))) is None


@pytest.mark.parametrize("cached", [True, False])
def test_the_recipe_decides(cached):
    ffn = feed_forward(fp8(cache_swiglu_input=cached))
    assert (source_of(ffn.swiglu(torch.randn(3, 320, requires_grad=True))) is not None) == cached
