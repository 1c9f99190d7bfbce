"""litgpt's network of the same sizes and weights as one of `transformers`, where it is installed.

litgpt 0.5 pins a huggingface-hub that `transformers` 5 excludes, so no extra of pyproject.toml names it, and it runs
well beside the newer one:

    pip install --no-deps litgpt

Left out: its torch.compile, data loading and parallelism; torchtitan 0.3, whose DeepSeek-V3 does not train on a CPU:
its attention (FlexAttention, or a varlen kernel of CUDA) has no backward pass there, and its experts always multiply in
bf16, which a CPU without bf16 units does a hundred times slower than fp32.

theirs: a transformers LlamaForCausalLM or DeepseekV3ForCausalLM, whose config is read and whose weights are copied.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from deepseek_lab.benchmarking.published_weights import apart

INSTALL = "pip install --no-deps litgpt"


def is_installed() -> bool:
    """Whether litgpt can be imported."""
    return find_spec("litgpt") is not None


def litgpt_network(theirs: Any, seq_len: int) -> nn.Module:
    """litgpt's GPT with the weights of `theirs`: (B, T) tokens, T up to `seq_len` -> (B, T, V) logits.

    Raises ImportError where litgpt is not installed, and KeyError or RuntimeError for a weight without a counterpart.
    """
    from litgpt import GPT, Config

    network: nn.Module = GPT(Config(**_sizes(theirs.config), block_size=seq_len))
    state = dict(apart(theirs.state_dict()))
    network.load_state_dict({name: _published(name, state) for name in network.state_dict()})
    return network


def _sizes(c: Any) -> dict[str, Any]:
    """The fields of litgpt's Config for a transformers config."""
    return {
        "n_layer": c.num_hidden_layers,
        "n_embd": c.hidden_size,
        "n_head": c.num_attention_heads,
        "n_query_groups": c.num_key_value_heads,
        "padded_vocab_size": c.vocab_size,
        "intermediate_size": c.intermediate_size,
        "rope_base": int(c.rope_parameters["rope_theta"]),
        "norm_class_name": "RMSNorm",
        "norm_eps": c.rms_norm_eps,
        "rotary_percentage": 1.0,
        "parallel_residual": False,
        "bias": False,
        **(_deepseek(c) if hasattr(c, "kv_lora_rank") else {"mlp_class_name": "LLaMAMLP", "head_size": c.head_dim}),
    }


def _deepseek(c: Any) -> dict[str, Any]:
    """MLA and experts. Its sigmoid router wants two groups at least: two, both kept, are no groups at all."""
    latent = ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    n_groups, n_kept = (c.n_group, c.topk_group) if c.n_group > 1 else (2, 2)
    return {
        "latent_attention": {name: getattr(c, name) for name in latent},
        "rope_interleave": True,
        "mlp_class_name": "LLaMAMoE",
        "moe_intermediate_size": c.moe_intermediate_size,
        "n_expert": c.n_routed_experts,
        "n_shared_expert": c.n_shared_experts,
        "n_expert_per_token": c.num_experts_per_tok,
        "n_expert_groups": n_groups,
        "n_topk_groups": n_kept,
        "n_topk_scores_per_group": 2,
        "first_k_dense_replace": c.first_k_dense_replace,
        "routed_scaling_factor": c.routed_scaling_factor,
        "norm_topk_prob": c.norm_topk_prob,
    }


_WORDS = (
    ("transformer.wte.", "model.embed_tokens."),
    ("transformer.ln_f.", "model.norm."),
    ("transformer.h.", "model.layers."),
    ("norm_1.", "input_layernorm."),
    ("norm_2.", "post_attention_layernorm."),
    (".attn.proj.", ".self_attn.o_proj."),
    (".attn.", ".self_attn."),
    ("_a_norm.", "_a_layernorm."),
    ("fc_1.", "gate_proj."),
    ("fc_2.", "up_proj."),
    (".proj.", ".down_proj."),
)
"""litgpt's and the published ones, replaced from top to bottom."""


def _published(name: str, state: dict[str, Tensor]) -> Tensor:
    """The published tensor under one of litgpt's names; queries, keys and values are one of its tensors."""
    for word, published in _WORDS:
        name = name.replace(word, published)
    if ".qkv." in name:
        return torch.cat([state[name.replace(".qkv.", f".{part}_proj.")] for part in "qkv"])
    return state[name]
