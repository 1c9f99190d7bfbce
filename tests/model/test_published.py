"""The whole network equals `transformers` on the same random weights, fp32, within 1e-4."""

import pytest
import torch
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from deepseek_lab.benchmarking.published_weights import copy_weights
from deepseek_lab.model.rope import RopeConfig
from tests.model.tiny import DIM, HEADS, LAYERS, VOCABULARY, build, grouped, latent, mixture, roughen, tokens

BASE = {
    "vocab_size": VOCABULARY, "hidden_size": DIM, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "intermediate_size": 80, "initializer_range": 0.15, "max_position_embeddings": 256,
}  # fmt: skip
DEEPSEEK = BASE | {
    "q_lora_rank": 24, "kv_lora_rank": 20, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 12,
    "moe_intermediate_size": 32, "n_shared_experts": 2, "n_routed_experts": 8, "num_experts_per_tok": 3,
    "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.0,
}  # fmt: skip
# Ramps that lie inside the few frequencies of a tiny head; factor 8 makes the temperature matter.
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 32,
        "beta_fast": 4.0, "beta_slow": 1.0}  # fmt: skip
OUR_YARN = {"type": "yarn", "factor": 8.0, "original_max_seq_len": 32, "beta_fast": 4.0, "beta_slow": 1.0}


def transformers_model(kind, published):
    torch.manual_seed(3)
    model = kind(published).eval()
    roughen(model)
    return model


def assert_same_logits(theirs, ours, time=48):
    copy_weights(theirs, ours)
    ids_BT = tokens(2, time)
    with torch.no_grad():
        wanted, got = theirs(ids_BT).logits, ours(ids_BT).logits
    assert 0.5 < wanted.std() < 3  # the tolerance means something only at this scale
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)


def rope(**changes):
    return RopeConfig(**changes)


@pytest.mark.parametrize("kv_heads", [HEADS, 2, 1])
@pytest.mark.parametrize("tied", [False, True])
def test_llama(kv_heads, tied):
    published = LlamaConfig(**BASE, num_key_value_heads=kv_heads, tie_word_embeddings=tied)
    theirs = transformers_model(LlamaForCausalLM, published)
    assert_same_logits(theirs, build(grouped(kv_heads), "dense", tie_embeddings=tied))


@pytest.mark.parametrize("kv_heads", [HEADS, 2])
def test_qwen2_with_its_biases(kv_heads):
    theirs = transformers_model(Qwen2ForCausalLM, Qwen2Config(**BASE, num_key_value_heads=kv_heads))
    assert_same_logits(theirs, build(grouped(kv_heads, qkv_bias=True), "dense"))


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        ({"rope_type": "default", "rope_theta": 500.0}, rope(theta=500.0)),
        ({"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}, rope(type="linear", factor=4.0)),
        (
            {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 64,
             "low_freq_factor": 1.0, "high_freq_factor": 4.0},
            rope(type="llama3", factor=8.0, original_max_seq_len=64, low_freq_factor=1.0, high_freq_factor=4.0),
        ),
        (YARN, rope(**OUR_YARN)),
    ],
    ids=["theta", "linear", "llama3", "yarn"],
)  # fmt: skip
def test_llama_rope_scalings(published, ours):
    theirs = transformers_model(
        LlamaForCausalLM, LlamaConfig(**BASE, num_key_value_heads=2, head_dim=24, rope_parameters=published)
    )
    assert_same_logits(theirs, build(grouped(2, head_dim=24), "dense", rope=ours))


MSCALES = {
    "no_mscale": {},
    "mscale_equal": {"mscale": 0.707, "mscale_all_dim": 0.707},
    "mscale_unequal": {"mscale": 1.0, "mscale_all_dim": 0.4},
    "no_mscale_all_dim": {"mscale": 0.707},
    "only_mscale_all_dim": {"mscale_all_dim": 0.707},
}
V3_CASES = {
    "plain": ({}, {}, {}),
    "no_q_lora": ({"q_lora_rank": None}, {"q_lora_rank": None}, {}),
    "half_split_rope": ({"rope_interleave": False}, {"rope_layout": "half_split"}, {}),
    "groups": (
        {"n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5}, {},
        {"n_expert_groups": 4, "n_limited_groups": 2, "route_scale": 2.5},
    ),
    "weights_not_normalised": ({"norm_topk_prob": False}, {}, {"norm_topk_prob": False}),
    "one_shared": ({"n_shared_experts": 1}, {}, {"n_shared_experts": 1}),
    "all_dense": ({"first_k_dense_replace": LAYERS}, {}, {"n_dense_layers": LAYERS}),
}  # fmt: skip


@pytest.mark.parametrize("case", V3_CASES)
def test_deepseek_v3(case):
    published, attention, ffn = V3_CASES[case]
    theirs = transformers_model(DeepseekV3ForCausalLM, DeepseekV3Config(**(DEEPSEEK | published)))
    assert_same_logits(theirs, build(latent(**attention), mixture(**ffn)))


@pytest.mark.parametrize("mscale", MSCALES)
def test_deepseek_v3_yarn(mscale):
    published = DeepseekV3Config(**DEEPSEEK, rope_parameters=YARN | MSCALES[mscale])
    theirs = transformers_model(DeepseekV3ForCausalLM, published)
    assert_same_logits(theirs, build(rope=rope(**OUR_YARN, **MSCALES[mscale])))


def test_latent_norms_keep_their_own_eps():
    published = DeepseekV3Config(**DEEPSEEK, rms_norm_eps=1e-2)
    assert_same_logits(transformers_model(DeepseekV3ForCausalLM, published), build(norm_eps=1e-2))


V2_CASES = {
    "greedy": ({}, {}, {}),
    "route_scale": ({"routed_scaling_factor": 4.0}, {}, {"route_scale": 4.0}),
    "no_q_lora": ({"q_lora_rank": None}, {"q_lora_rank": None}, {}),
    "group_limited": (
        {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2, "routed_scaling_factor": 4.0}, {},
        {"n_expert_groups": 4, "n_limited_groups": 2, "route_scale": 4.0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", V2_CASES)
def test_deepseek_v2(case):
    published, attention, ffn = V2_CASES[case]
    theirs = transformers_model(DeepseekV2ForCausalLM, DeepseekV2Config(**(DEEPSEEK | published)))
    softmax = mixture(router="softmax", norm_topk_prob=False, **ffn)
    assert_same_logits(theirs, build(latent(**attention), softmax))


@pytest.mark.parametrize("mscale", MSCALES)
def test_deepseek_v2_yarn(mscale):
    published = DeepseekV2Config(**DEEPSEEK, rope_parameters=YARN | MSCALES[mscale])
    theirs = transformers_model(DeepseekV2ForCausalLM, published)
    softmax = mixture(router="softmax", norm_topk_prob=False)
    assert_same_logits(theirs, build(latent(), softmax, rope=rope(**OUR_YARN, **MSCALES[mscale])))


@pytest.mark.parametrize("family", ["llama", "deepseek"])
def test_gradients_agree_too(family):
    if family == "llama":
        theirs = transformers_model(LlamaForCausalLM, LlamaConfig(**BASE, num_key_value_heads=2))
        ours = build(grouped(2), "dense")
    else:
        theirs, ours = transformers_model(DeepseekV3ForCausalLM, DeepseekV3Config(**DEEPSEEK)), build()
    copy_weights(theirs, ours)
    ids_BT = tokens(2, 32)
    for logits in (theirs(ids_BT).logits, ours(ids_BT).logits):
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten()).backward()
    wanted = theirs.model.embed_tokens.weight.grad
    torch.testing.assert_close(ours.embedding.weight.grad, wanted, atol=1e-5, rtol=1e-3)
    wanted = theirs.model.layers[1].self_attn.o_proj.weight.grad
    torch.testing.assert_close(ours.blocks[1].attention.wo.weight.grad, wanted, atol=1e-5, rtol=1e-3)
