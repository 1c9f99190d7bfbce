"""Sums of 14 bits: why DeepSeek-V3 promotes them every 128."""

import pytest
import torch
from torch import nn

from deepseek_lab.precision.accumulate import limited_product, truncating_sum
from deepseek_lab.precision.applying import apply
from deepseek_lab.precision.quantise import Rounding, quantise
from precision_recipes import fp8


def test_a_sum_keeps_fourteen_bits_of_the_largest():
    one, tiny = 1.0, 2.0**-13
    assert truncating_sum(torch.tensor([[[one, tiny]]])).item() == one + tiny
    assert truncating_sum(torch.tensor([[[one, tiny / 2]]])).item() == one
    assert truncating_sum(torch.tensor([[[-one, -tiny * 1.5]]])).item() == -one - tiny
    assert truncating_sum(torch.zeros(1, 1, 4)).item() == 0.0


def largest_errors(columns):
    """Largest error over the largest result, without and with promotion, for a product of positive numbers."""
    generator = torch.Generator().manual_seed(0)
    a, b = (quantise(torch.rand(16, columns, generator=generator), Rounding("1x128")).values for _ in range(2))
    exact = a.double() @ b.double().t()
    return [float((limited_product(p)(a, b).double() - exact).abs().max() / exact.abs().max()) for p in (False, True)]


def test_promotion_keeps_the_error_small_at_large_k():
    """Of positive numbers 0.3% at K = 4,096 and growing with K; promoted, the same at every K."""
    plain, promoted = largest_errors(4096)
    assert 0.002 < plain < 0.01
    assert promoted < plain / 10
    assert largest_errors(256)[0] < plain / 4


def test_short_sums_are_nearly_exact():
    a, b = torch.randn(5, 32), torch.randn(7, 32)
    expected = a @ b.t()
    assert torch.allclose(limited_product(True)(a, b), expected, atol=32 * 2**-13 * 20)


@pytest.mark.parametrize("accumulator", ["14_bit", "14_bit_promoted"])
def test_a_recipe_trains_with_it(accumulator):
    layers = {}
    for name in ("fp32", accumulator):
        torch.manual_seed(0)
        layer = nn.Linear(640, 24, bias=False)
        apply(nn.ModuleDict({"lin": layer}), fp8(accumulator=name))
        torch.manual_seed(1)
        layer(torch.rand(8, 640)).square().sum().backward()
        layers[name] = layer.weight.grad
    error = (layers[accumulator] - layers["fp32"]).norm() / layers["fp32"].norm()
    assert 0 < error < 0.02
