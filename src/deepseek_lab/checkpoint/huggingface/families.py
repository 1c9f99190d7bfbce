"""What each published `model_type` is in our terms, and which one a network of ours is.

The tables of names are read in both directions. The defaults are those of transformers' config classes, which
count where a config.json leaves a field out. A value that would change what the network computes and that our
modules do not know is refused; anything else in a config (dropout, balance losses, token ids) is passed over.
"""

from typing import Any

from deepseek_lab.checkpoint.huggingface.published_rope import read_rope
from deepseek_lab.checkpoint.huggingface.sheet import Names, Sheet
from deepseek_lab.config import ConfigError
from deepseek_lab.model.attention.grouped import GroupedAttention
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.ffn.dense import DenseFeedForward
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.transformer import Transformer

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "deepseek": "DeepseekForCausalLM",
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
}
TRUNK: Names = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "vocab_size": "vocab_size",
    "max_seq_len": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
    "init_std": "initializer_range",
    "tie_embeddings": "tie_word_embeddings",
}
GROUPED: Names = {"n_heads": "num_attention_heads", "n_kv_heads": "num_key_value_heads", "head_dim": "head_dim"}
LATENT: Names = {
    "n_heads": "num_attention_heads",
    "q_lora_rank": "q_lora_rank",
    "kv_lora_rank": "kv_lora_rank",
    "qk_nope_head_dim": "qk_nope_head_dim",
    "qk_rope_head_dim": "qk_rope_head_dim",
    "v_head_dim": "v_head_dim",
    "bias": "attention_bias",
}
DENSE: Names = {"intermediate_size": "intermediate_size"}
MIXTURE: Names = {
    "n_routed_experts": "n_routed_experts",
    "n_activated_experts": "num_experts_per_tok",
    "n_shared_experts": "n_shared_experts",
    "moe_intermediate_size": "moe_intermediate_size",
    "n_dense_layers": "first_k_dense_replace",
    "intermediate_size": "intermediate_size",
    "norm_topk_prob": "norm_topk_prob",
    "route_scale": "routed_scaling_factor",
    "n_expert_groups": "n_group",
    "n_limited_groups": "topk_group",
}
UNGROUPED: dict[str, Any] = {"route_scale": 1.0, "n_expert_groups": 1, "n_limited_groups": 1}
"""What DeepSeekMoE's own router (`deepseek`) does not have."""

_LLAMA = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": None, "head_dim": None, "max_position_embeddings": 2048,
    "initializer_range": 0.02, "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "attention_bias": False,
    "mlp_bias": False,
}  # fmt: skip
_MOE = {
    "n_routed_experts": None, "num_experts_per_tok": None, "n_shared_experts": None, "moe_intermediate_size": 1407,
    "first_k_dense_replace": 0, "norm_topk_prob": False,
}  # fmt: skip
_MLA = {
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
}  # fmt: skip
DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "qwen2": _LLAMA | {
        "vocab_size": 151936, "intermediate_size": 22016, "max_position_embeddings": 32768, "num_key_value_heads": 32,
    },
    "deepseek": _LLAMA | _MOE | {"vocab_size": 102400, "norm_topk_prob": False},
    "deepseek_v2": _LLAMA | _MOE | _MLA | {
        "vocab_size": 102400, "n_routed_experts": 64, "n_shared_experts": 2, "routed_scaling_factor": 1.0,
        "topk_method": "greedy", "n_group": None, "topk_group": None,
    },
    "deepseek_v3": _LLAMA | _MLA | {
        "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
        "num_hidden_layers": 61, "num_attention_heads": 128, "n_shared_experts": 1, "n_routed_experts": 256,
        "routed_scaling_factor": 2.5, "n_group": 8, "topk_group": 4, "num_experts_per_tok": 8,
        "first_k_dense_replace": 3, "norm_topk_prob": True, "max_position_embeddings": 4096, "rope_interleave": True,
    },
}  # fmt: skip
_READ_BESIDE = {
    "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor", "hidden_act", "rope_interleave",
    "scoring_func", "topk_method", "moe_layer_freq", "use_sliding_window", "max_window_layers", "sliding_window",
    "num_nextn_predict_layers", "quantization_config", "original_max_position_embeddings", "model_type", "mlp_bias",
}  # fmt: skip
KNOWN = {name for table in (TRUNK, GROUPED, LATENT, MIXTURE) for name in table.values()} | _READ_BESIDE


def read_family(values: dict[str, Any], where: str, mtp_depth: int) -> Transformer.Config:
    """The network of a config.json (its `model_type` is one of ARCHITECTURES). Raises DataError.

    mtp_depth: how many MTP layers the folder holds
    """
    kind = values["model_type"]
    latent = kind in ("deepseek_v2", "deepseek_v3")
    sheet = Sheet(values, DEFAULTS[kind], where)
    sheet.require_sane(KNOWN)
    sheet.require("hidden_act", "silu", "swish")
    sheet.require("moe_layer_freq", 1)
    ffn = _read_dense(sheet) if kind in ("llama", "qwen2") else _read_mixture(sheet, kind, mtp_depth)
    attention = _read_latent(sheet, kind) if latent else _read_grouped(sheet, kind)
    with sheet.naming(TRUNK):
        config = Transformer.Config(
            **sheet.take(TRUNK),
            rope=read_rope(sheet, latent),
            attention=attention,
            ffn=ffn,
            mtp=MultiTokenPrediction.Config(depth=mtp_depth),
        )
        if config.norm_eps < 0:
            raise ConfigError("must not be negative", "norm_eps")
    with sheet.naming({"n_heads": "num_attention_heads"}):
        config.attention.rope_dim_at(config.dim)
    return config


def _read_grouped(sheet: Sheet, kind: str) -> GroupedAttention.Config:
    values = sheet.take(GROUPED)
    if values["n_kv_heads"] is None:
        values["n_kv_heads"] = values["n_heads"]
    dim, heads = sheet.get("hidden_size"), values["n_heads"]
    if type(dim) is int and type(heads) is int and heads > 0 and values["head_dim"] == dim // heads:
        values["head_dim"] = None  # what it is anyway
    if kind == "qwen2":
        _require_whole_attention(sheet)
    bias = sheet.get("attention_bias")
    with sheet.naming(GROUPED, {"qkv_bias": "attention_bias"}):
        qkv_bias, out_bias = (True, False) if kind == "qwen2" else (bias, bias)
        return GroupedAttention.Config(**values, qkv_bias=qkv_bias, out_bias=out_bias)


def _require_whole_attention(sheet: Sheet) -> None:
    """Sliding windows are unknown here; many configs give their size without using them."""
    first, kinds = sheet.get("max_window_layers"), sheet.get("layer_types") or []
    reached = type(first) is not int or first < sheet.get("num_hidden_layers")
    slides = sheet.get("use_sliding_window") and sheet.get("sliding_window", 4096) and reached
    if slides or not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds):
        raise sheet.refuse("use_sliding_window: attention over a window cannot be loaded")


def _read_latent(sheet: Sheet, kind: str) -> LatentAttention.Config:
    layout = "interleaved" if kind == "deepseek_v2" or sheet.get("rope_interleave", True) else "half_split"
    with sheet.naming(LATENT):
        return LatentAttention.Config(**sheet.take(LATENT), rope_layout=layout)  # type: ignore[arg-type]


def _read_dense(sheet: Sheet) -> DenseFeedForward.Config:
    with sheet.naming(DENSE, {"bias": "mlp_bias"}):
        return DenseFeedForward.Config(**sheet.take(DENSE), bias=sheet.get("mlp_bias"))


def _read_mixture(sheet: Sheet, kind: str, mtp_depth: int) -> Any:
    sheet.require("mlp_bias", False)
    layers, first = sheet.get("num_hidden_layers"), sheet.get("first_k_dense_replace")
    counted = type(layers) is int and type(first) is int
    if sheet.get("n_routed_experts") is None or (counted and first >= layers and not mtp_depth):
        return _read_dense(sheet)
    sigmoid = kind == "deepseek_v3"
    sheet.require("scoring_func", "sigmoid" if sigmoid else "softmax")
    values = {**sheet.take(MIXTURE), "router": "sigmoid" if sigmoid else "softmax"}
    if sigmoid:
        sheet.require("topk_method", "noaux_tc")
    else:
        sheet.require("topk_method", "greedy", "group_limited_greedy")
        if sheet.get("topk_method", "greedy") == "greedy":
            values |= {"n_expert_groups": 1, "n_limited_groups": 1}
    if kind == "deepseek":
        values |= UNGROUPED
    values["n_shared_experts"] = values["n_shared_experts"] or 0
    if counted:
        values["n_dense_layers"] = min(first, layers)  # MTP layers are mixtures in any case
    with sheet.naming(MIXTURE):
        config = MixtureOfExperts.Config(**values)
        if sigmoid and config.n_routed_experts // config.n_expert_groups < 2:
            raise ConfigError("leaves groups of one expert, but a group's score is the sum of two", "n_expert_groups")
        return config
