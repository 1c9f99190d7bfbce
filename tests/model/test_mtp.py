"""MTP equals transformers' MtpLayer at each depth of the chain; each knob does what it says."""

import pytest
import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
from transformers.modeling_layers import MtpLayer
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3DecoderLayer, DeepseekV3RMSNorm

from deepseek_lab.benchmarking.published_weights import copy_mtp_layer, copy_weights
from deepseek_lab.config import ConfigError
from deepseek_lab.model.mtp import MultiTokenPrediction
from tests.model.test_published import DEEPSEEK, transformers_model
from tests.model.tiny import LAYERS, build, roughen, tokens

TIME = 20


def published_states(theirs, layers, ids_BT, states):
    """The chain of MtpLayers over a whole row: depth k joins state k-1 with the embedding k tokens on."""
    embedding, found = theirs.model.embed_tokens(ids_BT), []
    for depth, layer in enumerate(layers, start=1):
        length = ids_BT.shape[1] - depth
        # Absolute positions, shifted by the depth: ours count from 0, which RoPE cannot tell.
        positions = torch.arange(depth, depth + length)[None]
        rotary = theirs.model.rotary_emb(embedding, positions)
        states = layer(embedding[:, depth:], states[:, :length], rotary, None, positions, None)
        found.append(states)
    return found


@pytest.mark.parametrize("concat", ["embedding_first", "hidden_first"])
@pytest.mark.parametrize("hidden", ["final_norm", "pre_norm"])
@torch.no_grad()
def test_equals_the_published_layer(concat, hidden):
    published = DeepseekV3Config(**DEEPSEEK)
    theirs = transformers_model(DeepseekV3ForCausalLM, published)
    theirs.config.mtp_hidden_states_first = concat == "hidden_first"
    layers = [MtpLayer(theirs.config, DeepseekV3DecoderLayer, DeepseekV3RMSNorm, LAYERS + k) for k in range(2)]
    for layer in layers:
        layer.apply(theirs._init_weights)
        roughen(layer)
    ours = build(mtp=MultiTokenPrediction.Config(depth=2, concat=concat, hidden=hidden))
    copy_weights(theirs, ours)
    for layer, module in zip(layers, ours.mtp, strict=True):
        copy_mtp_layer(layer, module)

    ids_BT = tokens(2, TIME)
    before_norm = []
    handle = theirs.model.norm.register_forward_pre_hook(lambda _, inputs: before_norm.append(inputs[0]))
    after_norm = theirs.model(ids_BT).last_hidden_state
    handle.remove()
    first = after_norm if hidden == "final_norm" else before_norm[0]
    output = ours(ids_BT, mtp=True)
    for depth, state in enumerate(published_states(theirs, layers, ids_BT, first), start=1):
        logits = theirs.lm_head(state)
        assert logits.shape == (2, TIME - depth, 97)
        assert 0.5 < logits.std() < 3
        torch.testing.assert_close(output.mtp_logits(depth), logits, atol=1e-4, rtol=0)


def test_modules_share_embedding_and_head_and_leave_the_main_model_alone():
    without, with_mtp = build(mtp=0), build(mtp=1)
    own = {name for name, _ in with_mtp.named_parameters()} - {name for name, _ in without.named_parameters()}
    assert own
    assert all(name.startswith("mtp.0.") for name in own)
    assert not any("embedding.weight" in name or "head" in name for name in own)
    ids_BT = tokens(1, TIME)
    assert torch.equal(with_mtp(ids_BT).logits, with_mtp(ids_BT, mtp=True).logits)
    assert with_mtp(ids_BT).mtp_hidden == []


def test_refuses_a_negative_depth():
    with pytest.raises(ConfigError, match=r"^depth must not be negative, not -1$"):
        MultiTokenPrediction.Config(depth=-1)
