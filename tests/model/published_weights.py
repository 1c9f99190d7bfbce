"""Weights of a `transformers` model under our names, for both of its families and its MTP layer.

Every tensor of ours must be found (`strict`), so a part that is not compared cannot slip through.
"""

import torch

_ATTENTION = {
    "q_proj": "wq", "k_proj": "wk", "v_proj": "wv", "o_proj": "wo",
    "q_a_proj": "wq_a", "q_a_layernorm": "q_norm", "q_b_proj": "wq_b",
    "kv_a_proj_with_mqa": "wkv_a", "kv_a_layernorm": "kv_norm", "kv_b_proj": "wkv_b",
}  # fmt: skip


def copy_weights(theirs, ours):
    """A `…ForCausalLM` of the Llama or DeepSeek family -> our Transformer without MTP."""
    base = theirs.model
    state = {
        "embedding.weight": base.embed_tokens.weight,
        "final_norm.weight": base.norm.weight,
        "head.weight": theirs.lm_head.weight,
    }
    for i, layer in enumerate(base.layers):
        state |= _prefixed(f"blocks.{i}.", _block(layer))
    return ours.load_state_dict(state, strict=not len(ours.mtp))


def copy_mtp_layer(theirs, ours):
    """A transformers `MtpLayer` -> one of our MultiTokenPrediction modules."""
    state = {
        "embedding_norm.weight": theirs.enorm.weight,
        "hidden_norm.weight": theirs.hnorm.weight,
        "join.weight": theirs.eh_proj.weight,
        "final_norm.weight": theirs.post_norm.weight,
    }
    ours.load_state_dict(state | _prefixed("block.", _block(theirs.mtp_block)))


def _prefixed(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def _block(layer):
    norms = {
        "attention_norm.weight": layer.input_layernorm.weight,
        "ffn_norm.weight": layer.post_attention_layernorm.weight,
    }
    attention = {}
    for name, tensor in layer.self_attn.named_parameters():
        module, kind = name.split(".")
        attention[f"{_ATTENTION[module]}.{kind}"] = tensor
    ffn = _mixture(layer.mlp) if hasattr(layer.mlp, "experts") else _dense(layer.mlp)
    return norms | _prefixed("attention.", attention) | _prefixed("ffn.", ffn)


def _dense(mlp):
    return {
        "gate_up.weight": torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)),
        "down.weight": mlp.down_proj.weight,
    }


def _mixture(mlp):
    state = {
        "router.weight": mlp.gate.weight,
        "experts.gate_up_EXD": mlp.experts.gate_up_proj,
        "experts.down_EDI": mlp.experts.down_proj,
    }
    if hasattr(mlp.gate, "e_score_correction_bias"):
        state["router.selection_bias_E"] = mlp.gate.e_score_correction_bias
    return state | _prefixed("shared.", _dense(mlp.shared_experts))
