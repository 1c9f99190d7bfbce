"""Stored weights: widened to the bit, a strip at a time, for linears and for experts with and without rows."""

import pytest
import torch
from torch import nn

from deepseek_lab.precision.quantise import Rounding, quantise
from deepseek_lab.precision.stored import (
    STRIP,
    StoredGroupedMatmul,
    StoredLinear,
    narrowed,
    scales_of_rows,
    stored_product,
    widened,
)


@pytest.mark.parametrize("shape", [(1, 1), (128, 128), (130, 250), (STRIP + 5, 40)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_widened_is_what_the_quantiser_rounds_to(shape, dtype):
    weight = torch.randn(shape)
    narrow, blocks = narrowed(weight)
    assert narrow.shape == weight.shape
    scale = scales_of_rows(blocks, shape[0])
    wanted = quantise(weight, Rounding("128x128")).values.to(dtype)
    assert torch.equal(widened(narrow, scale, dtype), wanted)
    x = torch.randn(3, shape[1]).to(dtype)
    torch.testing.assert_close(stored_product(x, narrow, scale), x @ wanted.T)


def stored_linear(linear):
    stored = StoredLinear(linear, torch.float32)
    narrow, blocks = narrowed(linear.weight)
    stored.narrow_OI.copy_(narrow)
    stored.scale_OC.copy_(scales_of_rows(blocks, len(narrow)))
    return stored


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_keeps_its_bias_and_its_weight_can_be_read(bias):
    linear = nn.Linear(200, 300, bias=bias)
    stored = stored_linear(linear)
    assert torch.equal(stored.weight, quantise(linear.weight.detach(), Rounding("128x128")).values)
    x = torch.randn(2, 5, 200)
    wanted = nn.functional.linear(x, stored.weight, linear.bias)
    torch.testing.assert_close(stored(x), wanted)


def test_only_the_bytes_of_one_strip_are_wide_at_a_time(monkeypatch):
    sizes = []
    whole = torch.Tensor.repeat_interleave

    def counted(self, repeats, dim=None, **rest):
        sizes.append(self.shape[0])
        return whole(self, repeats, dim, **rest)

    linear = nn.Linear(64, 3 * STRIP, bias=False)
    stored = stored_linear(linear)
    monkeypatch.setattr(torch.Tensor, "repeat_interleave", counted)
    stored(torch.randn(1, 64))
    assert sizes == [STRIP] * 3


def test_experts_without_rows_are_passed_over():
    weight = torch.randn(4, 140, 130)
    matmul = StoredGroupedMatmul(weight)
    pairs = [narrowed(one) for one in weight]
    narrow = torch.stack([one.view(torch.uint8) for one, _ in pairs]).view(torch.float8_e4m3fn)
    matmul.scale_EOC.copy_(torch.stack([scales_of_rows(blocks, 140) for _, blocks in pairs]))
    matmul.scale_EOC[2] = float("nan")
    rows, ends = torch.randn(7, 130), torch.tensor([3, 4, 4, 7], dtype=torch.int32)
    wide = [quantise(one, Rounding("128x128")).values for one in weight]
    wanted = torch.cat([rows[:3] @ wide[0].T, rows[3:4] @ wide[1].T, rows[4:] @ wide[3].T])
    torch.testing.assert_close(matmul(rows, narrow, ends), wanted)
