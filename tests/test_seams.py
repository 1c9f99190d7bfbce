"""The grouped product equals one product an expert, empty experts and autocast included."""

import pytest
import torch

from deepseek_lab.seams import GroupedMatmul

LOADS = (3, 0, 5, 1)


def drawn(dtype=torch.float32, width=8, out=12):
    generator = torch.Generator().manual_seed(0)
    x_ND = torch.randn(sum(LOADS), width, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight_EOD = torch.randn(4, out, width, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return x_ND, weight_EOD, torch.tensor(LOADS).cumsum(0).to(torch.int32)


@pytest.mark.parametrize(
    ("dtype", "width", "out"),
    [(torch.float64, 8, 12), (torch.float32, 8, 12), (torch.float32, 7, 9), (torch.float32, 8, 9)],
)
def test_equals_one_product_an_expert(dtype, width, out):
    x_ND, weight_EOD, ends_E = drawn(dtype, width, out)
    got = GroupedMatmul()(x_ND, weight_EOD, ends_E)
    wanted = torch.cat([rows @ weight.T for rows, weight in zip(x_ND.split(LOADS), weight_EOD, strict=True)])
    slope = torch.randn(sum(LOADS), out, dtype=dtype)
    torch.testing.assert_close(got, wanted)
    for ours, plain in zip(
        torch.autograd.grad(got, (x_ND, weight_EOD), slope),
        torch.autograd.grad(wanted, (x_ND, weight_EOD), slope),
        strict=True,
    ):
        torch.testing.assert_close(ours, plain)


def test_follows_autocast():
    x_ND, weight_EOD, ends_E = drawn()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = GroupedMatmul()(x_ND, weight_EOD, ends_E)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), GroupedMatmul()(x_ND, weight_EOD, ends_E), atol=0.1, rtol=0.05)
