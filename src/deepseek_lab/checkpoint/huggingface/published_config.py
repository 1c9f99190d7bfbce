"""Our config as a published config.json: which `model_type` it fits, or what about it fits none."""

from typing import Any

from deepseek_lab.checkpoint.huggingface import families
from deepseek_lab.checkpoint.huggingface.families import ARCHITECTURES
from deepseek_lab.checkpoint.huggingface.published_rope import write_rope
from deepseek_lab.checkpoint.huggingface.sheet import Names
from deepseek_lab.config import ConfigError
from deepseek_lab.model.attention.grouped import GroupedAttention
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.ffn.dense import DenseFeedForward
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.transformer import Transformer


def model_type_of(config: Transformer.Config, preferred: str | None = None) -> str:
    """The published `model_type` that computes what `config` does; `preferred` where it is one of several.

    Raises ConfigError, naming the field, for a network that no published class computes.
    """
    if isinstance(config.attention, GroupedAttention.Config):
        kind = _type_of_grouped(config, config.attention)
    elif isinstance(config.attention, LatentAttention.Config):
        kind = _type_of_latent(config, config.attention, preferred)
    else:
        raise ConfigError(f"of {type(config.attention).__qualname__} is in no published class", "attention")
    _require_mtp(config, kind)
    return kind


def _type_of_grouped(config: Transformer.Config, attention: GroupedAttention.Config) -> str:
    if attention.rope_layout != "half_split":
        raise ConfigError("is interleaved, which grouped attention is in no published class", "attention.rope_layout")
    if isinstance(config.ffn, MixtureOfExperts.Config):
        return _type_of_deepseek_moe(config.ffn, attention)
    if config.dim % attention.n_heads:
        raise ConfigError(f"does not divide dim={config.dim}, which the class llama wants", "attention.n_heads")
    if attention.qkv_bias == attention.out_bias:
        return "llama"
    if attention.out_bias or config.ffn.bias:
        raise ConfigError("of this kind is in no published class beside the other biases", "attention.qkv_bias")
    return "qwen2"


def _type_of_deepseek_moe(ffn: MixtureOfExperts.Config, attention: GroupedAttention.Config) -> str:
    if ffn.router != "softmax":
        raise ConfigError("is sigmoid, which is published with attention=mla only", "ffn.router")
    for name, value in families.UNGROUPED.items():
        if getattr(ffn, name) != value:
            raise ConfigError(f"= {getattr(ffn, name)} is published with attention=mla only", f"ffn.{name}")
    if attention.qkv_bias != attention.out_bias:
        raise ConfigError("without a bias on the output is not published with a mixture", "attention.qkv_bias")
    return "deepseek"


def _type_of_latent(config: Transformer.Config, attention: LatentAttention.Config, preferred: str | None) -> str:
    ffn = config.ffn
    if isinstance(ffn, DenseFeedForward.Config):
        if ffn.bias:
            raise ConfigError("is not published with attention=mla", "ffn.bias")
        either = attention.rope_layout == "interleaved" and config.dim % attention.n_heads == 0
        return "deepseek_v2" if either and preferred == "deepseek_v2" else "deepseek_v3"
    if ffn.router == "sigmoid":
        if ffn.n_routed_experts < 2:
            raise ConfigError("is 1, and the published sigmoid router adds the best two", "ffn.n_routed_experts")
        return "deepseek_v3"
    if attention.rope_layout != "interleaved":
        raise ConfigError("is half_split, which is published with a sigmoid router only", "attention.rope_layout")
    if ffn.norm_topk_prob and ffn.n_activated_experts > 1:
        raise ConfigError("with a softmax router is computed otherwise by transformers", "ffn.norm_topk_prob")
    if config.dim % attention.n_heads:
        raise ConfigError(f"does not divide dim={config.dim}, which the class deepseek_v2 wants", "attention.n_heads")
    return "deepseek_v2"


def _require_mtp(config: Transformer.Config, kind: str) -> None:
    mtp = config.mtp
    if not mtp.depth:
        return
    if kind != "deepseek_v3":
        raise ConfigError(f"= {mtp.depth}: the class {kind} has no MTP modules", "mtp.depth")
    for name, value in (("concat", "embedding_first"), ("hidden", "final_norm")):
        if getattr(mtp, name) != value:
            raise ConfigError(f"is {getattr(mtp, name)}, but published modules are {value}", f"mtp.{name}")
    if getattr(config.ffn, "n_dense_layers", config.n_layers + 1) > config.n_layers:
        raise ConfigError("are published as mixtures, and here their FFN is dense", "mtp modules")


def published_config(config: Transformer.Config, preferred: str | None = None) -> dict[str, Any]:
    """What config.json says of the network, without dtype and token ids. Raises ConfigError (see model_type_of)."""
    kind = model_type_of(config, preferred)
    latent = isinstance(config.attention, LatentAttention.Config)
    attention = _latent(config.attention, kind) if latent else _grouped(config.attention, config.dim, kind)
    return {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        **_named(config, families.TRUNK),
        **attention,
        **_feed_forward(config, kind),
        **write_rope(config.rope, latent),
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "use_cache": True,
        **({"num_nextn_predict_layers": config.mtp.depth} if kind == "deepseek_v3" else {}),
    }


def _named(config: Any, names: Names) -> dict[str, Any]:
    return {theirs: getattr(config, ours) for ours, theirs in names.items()}


def _grouped(attention: GroupedAttention.Config, dim: int, kind: str) -> dict[str, Any]:
    named = _named(attention, families.GROUPED) | {"head_dim": attention.rope_dim_at(dim)}
    if kind != "qwen2":
        return named | {"attention_bias": attention.qkv_bias}
    if named["head_dim"] == dim // attention.n_heads:
        del named["head_dim"]  # the class qwen2 has no such field
    return named


def _latent(attention: LatentAttention.Config, kind: str) -> dict[str, Any]:
    layout = {"rope_interleave": attention.rope_layout == "interleaved"} if kind == "deepseek_v3" else {}
    return _named(attention, families.LATENT) | {"num_key_value_heads": attention.n_heads} | layout


def _feed_forward(config: Transformer.Config, kind: str) -> dict[str, Any]:
    ffn = config.ffn
    if isinstance(ffn, DenseFeedForward.Config):
        named = _named(ffn, families.DENSE)
        if kind in ("deepseek_v2", "deepseek_v3"):
            return named | _no_mixture(config)
        return named | ({"mlp_bias": ffn.bias} if kind == "llama" else {})
    named = _named(ffn, families.MIXTURE)
    if kind == "deepseek":
        named = {name: value for name, value in named.items() if name not in _PUBLISHED_UNGROUPED}
    if kind == "deepseek_v2":
        named["topk_method"] = "greedy" if ffn.n_expert_groups == 1 else "group_limited_greedy"
    if kind == "deepseek_v3":
        named["topk_method"] = "noaux_tc"
    return named | {"scoring_func": ffn.router, "moe_layer_freq": 1}


_PUBLISHED_UNGROUPED = {families.MIXTURE[name] for name in families.UNGROUPED}


def _no_mixture(config: Transformer.Config) -> dict[str, Any]:
    """A class whose every layer is dense still wants sizes of a mixture; transformers builds none of it."""
    return {"first_k_dense_replace": config.n_layers, "n_group": 1, "topk_group": 1}
