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
    assert torch.autograd.gradcheck(norm, x)
    assert norm(x.bfloat16()).dtype == torch.bfloat16
