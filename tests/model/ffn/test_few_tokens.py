"""Experts of a few tokens: the loop and the form for compilers equal the grouped products of training."""

import pytest
import torch

from deepseek_lab.model.ffn import few_tokens
from deepseek_lab.model.ffn.experts import Experts
from deepseek_lab.model.linear import decoding

D, E, SIZE = 16, 6, 12


def case(n_tokens, n_chosen):
    torch.manual_seed(n_tokens + n_chosen)
    experts = Experts(D, E, SIZE).double()
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter)
    chosen = torch.stack([torch.randperm(E)[:n_chosen] for _ in range(n_tokens)])
    return experts, torch.randn(n_tokens, D).double(), torch.rand(n_tokens, n_chosen).double(), chosen


@pytest.mark.parametrize("n_tokens", [1, 2, 7, 24])
@pytest.mark.parametrize("n_chosen", [1, 3])
def test_equals_the_grouped_products(n_tokens, n_chosen):
    experts, *inputs = case(n_tokens, n_chosen)
    grouped = experts(*inputs)
    assert grouped.requires_grad, "gradients are wanted, so this is the way of training"
    weights = experts.gate_up_EXD, experts.down_EDI
    with torch.no_grad():
        for form in (few_tokens._one_by_one, few_tokens._fusible):
            torch.testing.assert_close(form(*inputs, *weights), grouped, atol=1e-10, rtol=0)


def test_without_gradients_no_other_expert_is_touched():
    experts, x, weight, _ = case(3, 2)
    chosen = torch.tensor([[0, 1], [1, 3], [3, 0]])
    before = experts(x, weight, chosen).detach()
    with torch.no_grad(), decoding():
        experts.gate_up_EXD[[2, 4, 5]] = float("nan")
        torch.testing.assert_close(experts(x, weight, chosen), before, atol=1e-10, rtol=0)
