"""The blocked kernel equals attention written out, values and gradients, at every sharing of key heads."""

import pytest
import torch

from deepseek_lab.model.attention import interface
from deepseek_lab.model.attention.blocked import blocked_causal_attention

SCALE = 0.3


def drawn(time, heads, key_heads, value_width=6, dtype=torch.float64):
    torch.manual_seed(0)
    shapes = ((heads, 8), (key_heads, 8), (key_heads, value_width))
    # By time first in memory, as the projections leave them.
    return [torch.randn(2, time, h, w, dtype=dtype).transpose(1, 2).requires_grad_() for h, w in shapes]


def written_out(q, k, v):
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    future = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
    return (q @ k.mT * SCALE).masked_fill(future, float("-inf")).softmax(-1) @ v


@pytest.mark.parametrize("time", [1, 127, 128, 129, 300])  # around and across the blocks of 128 queries
@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (6, 6), (4, 2), (6, 2), (4, 1)])
def test_equals_attention_written_out(time, heads, key_heads):
    inputs = drawn(time, heads, key_heads)
    got, wanted = blocked_causal_attention(*inputs, SCALE), written_out(*inputs)
    torch.testing.assert_close(got, wanted, atol=1e-10, rtol=0)
    slope = torch.randn_like(wanted)
    for ours, plain in zip(
        torch.autograd.grad(got, inputs, slope), torch.autograd.grad(wanted, inputs, slope), strict=True
    ):
        torch.testing.assert_close(ours, plain, atol=1e-10, rtol=0)


def test_gradcheck():
    assert torch.autograd.gradcheck(lambda *x: blocked_causal_attention(*x, SCALE), drawn(5, 2, 1))


@pytest.mark.parametrize("key_heads", [4, 1])
def test_attend_gives_the_same_on_either_side_of_the_threshold(key_heads, monkeypatch):
    inputs = drawn(256, 4, key_heads, dtype=torch.float32)
    calls = []
    monkeypatch.setattr(
        interface, "blocked_causal_attention", lambda *x: calls.append(1) or blocked_causal_attention(*x)
    )
    ours = interface.attend(*inputs, None, SCALE)
    assert calls
    monkeypatch.setattr(interface, "_BLOCKED_FROM", 257)
    torchs = interface.attend(*inputs, None, SCALE)
    assert len(calls) == 1
    torch.testing.assert_close(ours, torchs, atol=1e-5, rtol=0)


def test_masks_and_16_bits_go_to_torch(monkeypatch):
    monkeypatch.setattr(interface, "blocked_causal_attention", None)  # a call would fail
    q, k, v = drawn(256, 4, 4, dtype=torch.float32)
    mask = interface.causal_mask(torch.arange(256)[None], 256)
    assert interface.attend(q, k, v, mask, SCALE).isfinite().all()
    assert interface.attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), None, SCALE).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert interface.attend(q, k, v, None, SCALE).dtype == torch.bfloat16
