"""The native backend gives what the emulated one gives: on a CPU's own kernels, and through Hopper's rules."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepseek_lab.precision import applying
from deepseek_lab.precision.applying import apply
from deepseek_lab.precision.native import Native
from deepseek_lab.seams import GroupedMatmul
from precision_recipes import fp8
from tests.precision import hopper

ENDS = torch.tensor([3, 3, 133, 150], dtype=torch.int32)


@pytest.fixture(autouse=True)
def wide_results(monkeypatch):
    """Results in fp32, so that the comparison is with the emulation and not with bf16."""
    product = Native.product
    monkeypatch.setattr(Native, "product", lambda self, a, b, dtype=None: product(self, a, b, torch.float32))


def with_backend(recipe, native, monkeypatch, module):
    with monkeypatch.context() as patch:
        if native:
            patch.setattr(applying, "backend_of", lambda *_: "native")
        model = nn.ModuleDict({"attention": nn.ModuleDict({"wo": module})})
        apply(nn.ModuleDict({"0": model}), recipe)
    return module


def linear(recipe, native, monkeypatch):
    torch.manual_seed(1)
    layer = with_backend(recipe, native, monkeypatch, nn.Linear(200, 150, bias=False))
    x = torch.randn(140, 200, requires_grad=True)
    y = layer(x)
    y.backward(torch.randn(140, 150) * 1e-3)
    return [t.detach().float() for t in (y, x.grad, layer.weight.grad)]


def grouped(recipe, native, monkeypatch):
    torch.manual_seed(1)
    matmul = with_backend(recipe, native, monkeypatch, GroupedMatmul())
    x, weight = torch.randn(150, 72, requires_grad=True), torch.randn(4, 40, 72, requires_grad=True)
    y = matmul(x, weight, ENDS)
    y.backward(torch.randn(150, 40) * 1e-3)
    return [t.detach().float() for t in (y, x.grad, weight.grad)]


def assert_same(ours, expected):
    for a, b in zip(ours, expected, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 2e-5 * b.abs().max()


@pytest.mark.parametrize("run", [linear, grouped])
@pytest.mark.parametrize("scale_format", ["fp32", "ue8m0"])
def test_block_scales_by_hoppers_rules(run, scale_format, monkeypatch):
    recipe = fp8(scale_format=scale_format)
    expected = run(recipe, False, monkeypatch)
    monkeypatch.setattr(F, "scaled_mm", hopper.scaled_mm)
    assert_same(run(recipe, True, monkeypatch), expected)


@pytest.mark.parametrize("run", [linear, grouped])
@pytest.mark.parametrize("name", ["fp8_tensorwise", "fp8_rowwise"])
def test_plain_scales_on_torchs_own_kernel(run, name, monkeypatch):
    recipe = fp8(name, power_of_two=["attention_output"])
    assert_same(run(recipe, True, monkeypatch), run(recipe, False, monkeypatch))


def test_activations_wait_in_one_byte(monkeypatch):
    monkeypatch.setattr(F, "scaled_mm", hopper.scaled_mm)
    layer = nn.Linear(256, 128, bias=False)
    with monkeypatch.context() as patch:
        patch.setattr(applying, "backend_of", lambda *_: "native")
        apply(nn.ModuleDict({"lin": layer}), fp8())
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(torch.randn(64, 256))
    sizes = {(tuple(t.shape), t.dtype) for t in kept}
    assert sizes == {
        ((128, 256), torch.float32),  # the master itself
        ((64, 256), torch.float8_e4m3fn),
        ((64, 2), torch.float32),
    }
