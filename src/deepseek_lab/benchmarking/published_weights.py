"""Weights of a `transformers` model under our names, so that two implementations can be compared.

Takes the Llama and the DeepSeek family (V2, V3) and transformers' MtpLayer, as modules in memory.
Left out: reading and writing checkpoint folders. Every tensor of ours must be found, so that a part
which is not compared cannot slip through.
"""

from typing import Any

import torch
from torch import Tensor

from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.transformer import Transformer

State = dict[str, Tensor]

_ATTENTION = {
    "q_proj": "wq", "k_proj": "wk", "v_proj": "wv", "o_proj": "wo",
    "q_a_proj": "wq_a", "q_a_layernorm": "q_norm", "q_b_proj": "wq_b",
    "kv_a_proj_with_mqa": "wkv_a", "kv_a_layernorm": "kv_norm", "kv_b_proj": "wkv_b",
}  # fmt: skip


def copy_weights(theirs: Any, ours: Transformer) -> None:
    """A `…ForCausalLM` of either family -> our Transformer; MTP modules are left as they are."""
    state: State = {
        "embedding.weight": theirs.model.embed_tokens.weight,
        "final_norm.weight": theirs.model.norm.weight,
        "head.weight": theirs.lm_head.weight,
    }
    for i, layer in enumerate(theirs.model.layers):
        state |= _prefixed(f"blocks.{i}.", _block(layer))
    ours.load_state_dict(state, strict=not len(ours.mtp))


def copy_mtp_layer(theirs: Any, ours: MultiTokenPrediction) -> None:
    """A transformers `MtpLayer` -> one of our modules."""
    state: State = {
        "embedding_norm.weight": theirs.enorm.weight,
        "hidden_norm.weight": theirs.hnorm.weight,
        "join.weight": theirs.eh_proj.weight,
        "final_norm.weight": theirs.post_norm.weight,
    }
    ours.load_state_dict(state | _prefixed("block.", _block(theirs.mtp_block)))


def _prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def _block(layer: Any) -> State:
    attention: State = {}
    for name, tensor in layer.self_attn.named_parameters():
        module, kind = name.split(".")
        attention[f"{_ATTENTION[module]}.{kind}"] = tensor
    ffn = _mixture(layer.mlp) if hasattr(layer.mlp, "experts") else _dense(layer.mlp)
    norms: State = {
        "attention_norm.weight": layer.input_layernorm.weight,
        "ffn_norm.weight": layer.post_attention_layernorm.weight,
    }
    return norms | _prefixed("attention.", attention) | _prefixed("ffn.", ffn)


def _dense(mlp: Any) -> State:
    return {
        "gate_up.weight": torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)),
        "down.weight": mlp.down_proj.weight,
    }


def _mixture(mlp: Any) -> State:
    state: State = {
        "router.weight": mlp.gate.weight,
        "experts.gate_up_EXD": mlp.experts.gate_up_proj,
        "experts.down_EDI": mlp.experts.down_proj,
    }
    if hasattr(mlp.gate, "e_score_correction_bias"):
        state["router.selection_bias_E"] = mlp.gate.e_score_correction_bias
    return state | _prefixed("shared.", _dense(mlp.shared_experts))
