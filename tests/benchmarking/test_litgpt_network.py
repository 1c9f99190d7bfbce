"""litgpt's network, where it is installed, answers as `transformers`' does on the same random weights."""

import pytest
import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig, LlamaForCausalLM

from deepseek_lab.benchmarking import litgpt_network
from model.tiny import VOCABULARY, roughen, tokens

BASE = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 80, "initializer_range": 0.15,
}  # fmt: skip
DEEPSEEK = BASE | {
    "num_key_value_heads": 4, "q_lora_rank": 24, "kv_lora_rank": 20, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
    "v_head_dim": 12, "moe_intermediate_size": 32, "n_shared_experts": 2, "n_routed_experts": 8,
    "num_experts_per_tok": 3, "first_k_dense_replace": 1, "routed_scaling_factor": 1.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "published"),
    [
        (LlamaForCausalLM, LlamaConfig(**BASE, num_key_value_heads=2)),
        (DeepseekV3ForCausalLM, DeepseekV3Config(**DEEPSEEK, n_group=1, topk_group=1)),
        (DeepseekV3ForCausalLM, DeepseekV3Config(**DEEPSEEK, n_group=4, topk_group=2)),
    ],
)
def test_same_logits(kind, published):
    pytest.importorskip("litgpt")
    torch.manual_seed(3)
    theirs = kind(published).eval()
    roughen(theirs)
    ids_BT = tokens(2, 24)
    with torch.no_grad():
        wanted, got = theirs(ids_BT).logits, litgpt_network.litgpt_network(theirs, 24)(ids_BT)
    assert wanted.std() > 0.3
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)
