"""A linear's three products against a float64 reference, and what it keeps."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_lab.precision.applying import apply
from precision_recipes import bf16, fp8
from tests.precision.float64_reference import E5M6, linear_gradients, quantised


def made(recipe, n_inputs=200, n_outputs=150, name="lin", bias=False):
    model = nn.ModuleDict({name: nn.Linear(n_inputs, n_outputs, bias=bias)})
    apply(model, recipe)
    return model[name]


def numbers(n_rows=140, n_inputs=200, n_outputs=150):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n_rows, n_inputs, generator=generator) * torch.randn(n_rows, 1, generator=generator).exp()
    dy = torch.randn(n_rows, n_outputs, generator=generator) * (3 * torch.randn(n_rows, 1, generator=generator)).exp()
    return x, 1e-3 * dy


def run(layer, x, dy):
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(dy)
    return [t.detach().double().numpy() for t in (y, x.grad, layer.weight.grad)]


def assert_near(ours, expected):
    """Equal up to the order of fp32 sums."""
    for a, b in zip(ours, expected, strict=True):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def test_v3_products_against_float64():
    """Edge tiles on every side: 140 tokens, 200 inputs, 150 outputs."""
    layer = made(fp8())
    x, dy = numbers()
    w = layer.weight.detach().double().numpy()
    assert_near(run(layer, x, dy), linear_gradients(x.double().numpy(), w, dy.double().numpy()))


def test_input_after_attention_waits_in_e5m6():
    model = nn.ModuleDict({"attention": nn.ModuleDict({"wo": nn.Linear(200, 150, bias=False)})})
    block = nn.ModuleDict({"0": model})
    apply(block, fp8())
    layer = model["attention"]["wo"]
    x, dy = numbers()
    x64, dy64 = x.double().numpy(), dy.double().numpy()
    kept = quantised(x64, 1, 128, E5M6, power_of_two=True, smallest=1e-4)
    wq = quantised(layer.weight.detach().double().numpy(), 128, 128, smallest=1e-4)
    y = quantised(kept, 1, 128, power_of_two=True, smallest=1e-4) @ wq.T
    dw = quantised(dy64, 128, 1).T @ quantised(kept, 128, 1, power_of_two=True, smallest=1e-4)
    assert_near(run(layer, x, dy), (y, quantised(dy64, 1, 128) @ wq, dw))


@pytest.mark.parametrize(("name", "tiles"), [("fp8_tensorwise", [(999, 999)] * 6), ("fp8_rowwise", None)])
def test_baselines_against_float64(name, tiles):
    layer = made(fp8(name))
    x, dy = numbers()
    x64, dy64, w64 = x.double().numpy(), dy.double().numpy(), layer.weight.detach().double().numpy()
    row, column = ((999, 999), (999, 999)) if tiles else ((1, 999), (999, 1))
    xq = quantised(x64, *row, smallest=1e-4)
    again = xq if tiles else quantised(xq, *column, smallest=1e-4)
    y = xq @ quantised(w64, *row, smallest=1e-4).T
    dx = quantised(dy64, *row) @ quantised(w64, *column, smallest=1e-4)
    assert_near(run(layer, x, dy), (y, dx, quantised(dy64, *column).T @ again))


def test_blocks_of_gradients_against_float64():
    layer = made(fp8("fp8_block_gradients"))
    x, dy = numbers()
    x64, w64 = x.double().numpy(), layer.weight.detach().double().numpy()
    dyq = quantised(dy.double().numpy(), 128, 128)
    xq, wq = quantised(x64, 1, 128, smallest=1e-4), quantised(w64, 128, 128, smallest=1e-4)
    assert_near(run(layer, x, dy), (xq @ wq.T, dyq @ wq, dyq.T @ quantised(xq, 128, 1, smallest=1e-4)))


def test_emulated_bf16_rounds_operands_and_nothing_else():
    layer = made(bf16())
    x, dy = numbers()
    xb, wb, dyb = (t.bfloat16().double() for t in (x, layer.weight.detach(), dy))
    assert_near(run(layer, x, dy), [t.numpy() for t in (xb @ wb.T, dyb @ wb, dyb.T @ xb)])


def test_gradients_are_those_of_the_loss_up_to_the_format():
    """Against exact fp32 gradients: a few per cent, the step of a three-bit mantissa."""
    layer, (x, dy) = made(fp8()), numbers()
    plain = nn.Linear(200, 150, bias=False)
    plain.weight.data = layer.weight.detach().clone()
    for ours, exact in zip(run(layer, x, dy), run(plain, x, dy), strict=True):
        assert 1e-3 < np.linalg.norm(ours - exact) / np.linalg.norm(exact) < 0.06


def test_bias_and_leading_dimensions():
    layer = made(fp8(), bias=True)
    x = torch.randn(2, 3, 200)
    flat = layer(x.view(6, 200))
    assert torch.equal(layer(x), flat.view(2, 3, 150))
    layer(x).sum().backward()
    assert torch.equal(layer.bias.grad, torch.full((150,), 6.0))


def test_frozen_sides_get_no_gradient():
    layer = made(fp8())
    layer.weight.requires_grad_(False)
    x = torch.randn(5, 200, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None
    other = made(fp8())
    other(torch.randn(5, 200)).sum().backward()
    assert other.weight.grad is not None


def test_a_copy_is_independent():
    layer = made(fp8())
    twin = copy.deepcopy(layer)
    twin.weight.data.zero_()
    x = torch.randn(4, 200)
    assert twin(x).abs().max() == 0
    assert layer(x).abs().max() > 0
