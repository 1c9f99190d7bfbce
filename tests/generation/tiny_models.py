"""Tiny models of every kind that generation meets."""

import torch

from deepseek_lab.model.attention.grouped import GroupedAttention
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.ffn.dense import DenseFeedForward
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.model.transformer import Transformer

MLA = LatentAttention.Config(
    n_heads=2, q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8
)
MOE = MixtureOfExperts.Config(
    n_routed_experts=4, n_activated_experts=2, moe_intermediate_size=16, n_shared_experts=1, n_dense_layers=1,
    intermediate_size=48,
)  # fmt: skip
PARTS = {
    "mha_dense": (GroupedAttention.Config(n_heads=4, n_kv_heads=4), DenseFeedForward.Config(intermediate_size=48)),
    "gqa_dense": (GroupedAttention.Config(n_heads=4, n_kv_heads=2), DenseFeedForward.Config(intermediate_size=48)),
    "mla_moe": (MLA, MOE),
}


def tiny_model(kind, vocab_size=40, depth=1, init_std=0.3, seed=0):
    """Random weights in float64."""
    torch.manual_seed(seed)
    attention, ffn = PARTS[kind]
    config = Transformer.Config(
        dim=32, n_layers=2, vocab_size=vocab_size, max_seq_len=64, init_std=init_std, rope=RopeConfig(),
        attention=attention, ffn=ffn, mtp=MultiTokenPrediction.Config(depth=depth),
    )  # fmt: skip
    return config.build().double()


def greedy_by_recomputation(model, prompt, n):
    """The prompt and n tokens, each by a forward over everything before it."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(n):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids
