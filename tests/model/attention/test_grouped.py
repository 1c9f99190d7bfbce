"""Grouped-query attention: sharing heads is repeating them; refusals."""

import pytest
import torch

from deepseek_lab.config import ConfigError
from tests.model.tiny import HEADS, build, grouped, tokens


@pytest.mark.parametrize("kv_heads", [1, 2])
@torch.no_grad()
def test_is_full_attention_with_repeated_key_heads(kv_heads):
    shared, full = build(grouped(kv_heads), "dense"), build(grouped(HEADS), "dense")
    state = shared.state_dict()
    for name, weight in state.items():
        if name.endswith(("wk.weight", "wv.weight")):
            heads = weight.unflatten(0, (kv_heads, -1)).repeat_interleave(HEADS // kv_heads, dim=0)
            state[name] = heads.flatten(0, 1)
    full.load_state_dict(state)
    ids_BT = tokens(2, 12)
    torch.testing.assert_close(shared(ids_BT).logits, full(ids_BT).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("kv_heads", "changes", "message"),
    [
        (3, {}, "n_kv_heads must divide n_heads (4), which 3 does not"),
        (0, {}, "n_kv_heads must be at least 1, not 0"),
        (2, {"head_dim": 7}, "head_dim must be even, RoPE turns pairs of channels; not 7"),
        (2, {"qkv_bias": "yes"}, "qkv_bias must be true or false, not 'yes'"),
        (2, {"rope_layout": "pairs"}, "rope_layout must be one of interleaved, half_split, not 'pairs'"),
    ],
)
def test_refusals_name_the_field(kv_heads, changes, message):
    with pytest.raises(ConfigError) as refusal:
        grouped(kv_heads, **changes)
    assert str(refusal.value) == message
