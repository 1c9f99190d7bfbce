"""The shared attention call equals softmax written out, for every combination of widths and masks."""

import pytest
import torch

from deepseek_lab.model.attention.interface import attend, causal_mask

B, T = 2, 7


@pytest.mark.parametrize("value_width", [4, 8, 12])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_is_softmax_attention(value_width, kv_heads, masked):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(B, h, T, w, generator=generator) for h, w in ((4, 8), (kv_heads, 8), (kv_heads, value_width))
    )
    causal = causal_mask(torch.arange(T)[None], T)
    keep = torch.rand(B, 1, T, T, generator=generator) > 0.5
    mask = causal & (keep | torch.eye(T, dtype=torch.bool)) if masked else None
    scores = q @ k.repeat_interleave(4 // kv_heads, 1).mT * 0.3
    scores = scores.masked_fill(~(causal if mask is None else mask), float("-inf"))
    wanted = scores.softmax(-1) @ v.repeat_interleave(4 // kv_heads, 1)
    torch.testing.assert_close(attend(q, k, v, mask, 0.3), wanted, atol=1e-5, rtol=0)


def test_a_single_query_sees_every_key():
    q, k, v = torch.randn(1, 2, 1, 8), torch.randn(1, 2, T, 8), torch.randn(1, 2, T, 8)
    wanted = (q @ k.mT).softmax(-1) @ v
    torch.testing.assert_close(attend(q, k, v, None, 1.0), wanted, atol=1e-5, rtol=0)


def test_causal_mask_from_positions():
    assert causal_mask(torch.tensor([[2, 0]]), 4).tolist() == [
        [[[True, True, True, False], [True, False, False, False]]]
    ]
