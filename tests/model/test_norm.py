"""RMSNorm is its formula."""

import torch

from deepseek_lab.model.norm import RMSNorm


def test_is_the_formula_with_its_gradient():
    torch.manual_seed(0)
    norm = RMSNorm(10, eps=0.1).double()
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(3, 5, 10, dtype=torch.float64, requires_grad=True)
    wanted = x / (x.square().mean(-1, keepdim=True) + 0.1).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), wanted, atol=1e-12, rtol=0)
    assert torch.autograd.gradcheck(
        lambda x, weight: torch.func.functional_call(norm, {"weight": weight}, x), (x, norm.weight)
    )
    assert norm(x.bfloat16()).dtype == torch.bfloat16


def test_is_torchs_own_in_fp32():
    torch.manual_seed(0)
    norm = RMSNorm(64)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 30, 64, requires_grad=True)
    slope = torch.randn(2, 30, 64)
    got, wanted = norm(x), torch.nn.functional.rms_norm(x, (64,), norm.weight, norm.eps)
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(got, (x, norm.weight), slope),
        torch.autograd.grad(wanted, (x, norm.weight), slope),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
