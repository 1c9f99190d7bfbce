"""Few rows times a matrix: the quick form gives the numbers of the plain one, and training never takes it."""

import pytest
import torch
import torch.nn.functional as F

from deepseek_lab.model import linear
from deepseek_lab.model.linear import FEW, Linear, decoding, project


@pytest.mark.parametrize("lead", [(0,), (1,), (2,), (FEW,), (FEW + 1,), (1, 1), (4, 2), ()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@torch.no_grad()
def test_equals_the_plain_product(lead, dtype):
    torch.manual_seed(0)
    x, weight = torch.randn(*lead, 24).to(dtype), torch.randn(40, 24).to(dtype)
    with decoding():
        y = project(x, weight)
    torch.testing.assert_close(y, F.linear(x, weight))


@torch.no_grad()
def test_columns_of_a_larger_tensor_are_taken_as_they_lie():
    torch.manual_seed(0)
    weight = torch.randn(40, 24)
    for x in (torch.randn(3, 50)[:, 10:34], torch.randn(24, 3).t()):
        with decoding():
            torch.testing.assert_close(project(x, weight), F.linear(x, weight))


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_a_module_adds_its_bias(bias):
    torch.manual_seed(0)
    module, x = Linear(24, 40, bias=bias), torch.randn(2, 24)
    with decoding():
        torch.testing.assert_close(module(x), F.linear(x, module.weight, module.bias))


def test_only_few_rows_that_are_decoded_take_it(monkeypatch):
    taken = []
    quick = linear.product_of_few
    monkeypatch.setattr(linear, "product_of_few", lambda x, w: taken.append(len(x)) or quick(x, w))
    module = Linear(24, 40, bias=False)
    with decoding():
        module(torch.randn(2, 24)).sum().backward()
    assert module.weight.grad is not None
    with torch.no_grad():
        module(torch.randn(2, 24))
        with decoding():
            module(torch.randn(FEW + 1, 24))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                module(torch.randn(2, 24))
            assert not taken
            module(torch.randn(2, 24))
    assert taken == [2]
