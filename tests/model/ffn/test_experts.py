"""Grouped experts equal a plain loop over tokens and their experts, gradients included."""

import pytest
import torch
import torch.nn.functional as F

from deepseek_lab.model.ffn.experts import Experts

N, D, INNER, E = 13, 8, 12, 6


def case(n_chosen, spread):
    torch.manual_seed(0)
    experts = Experts(D, E, INNER).double()
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(N, D, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(N, n_chosen, dtype=torch.float64, requires_grad=True)
    reachable = E if spread else n_chosen  # not spread: the last experts get no token at all
    chosen = torch.stack([torch.randperm(reachable)[:n_chosen] for _ in range(N)])
    return experts, x, weight, chosen


def one_by_one(experts, x, weight, chosen):
    rows = []
    for token in range(N):
        total = 0
        for place, expert in enumerate(chosen[token]):
            gate, up = (experts.gate_up_EXD[expert] @ x[token]).chunk(2)
            total = total + weight[token, place] * (experts.down_EDI[expert] @ (F.silu(gate) * up))
        rows.append(total)
    return torch.stack(rows)


@pytest.mark.parametrize("n_chosen", [1, 3])
@pytest.mark.parametrize("spread", [True, False])
def test_equals_a_loop_over_tokens(n_chosen, spread):
    experts, x, weight, chosen = case(n_chosen, spread)
    got, wanted = experts(x, weight, chosen), one_by_one(experts, x, weight, chosen)
    torch.testing.assert_close(got, wanted, atol=1e-10, rtol=0)
    inputs = (x, weight, *experts.parameters())
    slope = torch.randn(N, D, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(got, inputs, slope), torch.autograd.grad(wanted, inputs, slope), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)
