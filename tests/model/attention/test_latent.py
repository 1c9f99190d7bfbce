"""MLA: the absorbed form is the expanded one; refusals."""

import pytest
import torch

from deepseek_lab.config import ConfigError
from deepseek_lab.model.attention.interface import AttentionContext
from deepseek_lab.model.rope import RopeConfig, rotation_table
from tests.model.tiny import latent, roughen

DIM, TIME = 32, 11


@pytest.mark.parametrize("q_lora_rank", [None, 24])
@pytest.mark.parametrize("layout", ["interleaved", "half_split"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
@torch.no_grad()
def test_absorbed_equals_expanded(q_lora_rank, layout, dtype, tolerance):
    """The last token of a row, once as decoding sees it and once as training does."""
    torch.manual_seed(0)
    rope = RopeConfig(type="yarn", factor=8.0, mscale=1.0, mscale_all_dim=1.0, original_max_seq_len=32)
    attention = latent(q_lora_rank=q_lora_rank, rope_layout=layout).build(DIM, layer_index=0, rope=rope).to(dtype)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    roughen(attention)
    x_BTD = torch.randn(2, TIME, DIM, dtype=dtype)
    rotation = rotation_table(rope, 8, torch.arange(TIME)[None])
    stored_BL = torch.zeros(2, TIME, *attention.cache_shape(), dtype=dtype)
    expanded = attention(x_BTD, AttentionContext(rotation, n_keys=TIME), stored_BL)
    last = AttentionContext(rotation[:, -1:], n_keys=TIME, read_cache=True, start=TIME - 1)
    absorbed = attention(x_BTD[:, -1:], last, stored_BL)
    assert absorbed.std() > 0.5
    torch.testing.assert_close(absorbed, expanded[:, -1:], atol=tolerance, rtol=0)


def test_decoding_never_expands_the_cache():
    """The up-projection runs as a module in prefill only: absorbed, its weight is used in two halves."""
    torch.manual_seed(0)
    rope = RopeConfig()
    attention = latent().build(DIM, layer_index=0, rope=rope)
    calls = []
    attention.wkv_b.register_forward_hook(lambda *_: calls.append(1))
    rotation = rotation_table(rope, 8, torch.arange(TIME)[None])
    stored_BL = torch.zeros(1, TIME, *attention.cache_shape())
    attention(torch.randn(1, TIME, DIM), AttentionContext(rotation, n_keys=TIME), stored_BL)
    assert len(calls) == 1
    context = AttentionContext(rotation[:, -1:], n_keys=TIME, read_cache=True, start=TIME - 1)
    attention(torch.randn(1, 1, DIM), context, stored_BL)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qk_rope_head_dim": 7}, "qk_rope_head_dim must be even, RoPE turns pairs of channels; not 7"),
        ({"kv_lora_rank": 0}, "kv_lora_rank must be at least 1, not 0"),
        ({"q_lora_rank": 0}, "q_lora_rank must be at least 1, not 0"),
        ({"q_lora_rank": "16"}, "q_lora_rank must be an integer or null, not '16'"),
        ({"v_head_dim": 1.5}, "v_head_dim must be an integer, not 1.5"),
    ],
)
def test_refusals_name_the_field(changes, message):
    with pytest.raises(ConfigError) as refusal:
        latent(**changes)
    assert str(refusal.value) == message
