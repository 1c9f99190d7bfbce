"""Which published tensor is which part of ours: one table a family, read in both directions.

A row names one module of ours and what it is called in Hugging Face folders. Where ours is fused, the row has
several published names: their rows follow one another in our matrix (gate before up). `{expert}` runs over the
first dimension of a stacked parameter. The last part of a name (weight, bias) is the same on both sides unless the
row spells it.

On disk every expert has tensors of its own, also where transformers fuses them in memory. MTP modules are layers
behind the last one (DeepSeek-V3 README_WEIGHTS), each with a copy of the embedding and of the head.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

Row = tuple[str, ...]

TRUNK: tuple[Row, ...] = (
    ("embedding", "model.embed_tokens"),
    ("final_norm", "model.norm"),
    ("head", "lm_head"),
)
_NORMS: tuple[Row, ...] = (
    ("attention_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
)
_GROUPED: tuple[Row, ...] = (
    ("attention.wq", "self_attn.q_proj"),
    ("attention.wk", "self_attn.k_proj"),
    ("attention.wv", "self_attn.v_proj"),
    ("attention.wo", "self_attn.o_proj"),
)
_LATENT: tuple[Row, ...] = (
    ("attention.wq", "self_attn.q_proj"),
    ("attention.wq_a", "self_attn.q_a_proj"),
    ("attention.q_norm", "self_attn.q_a_layernorm"),
    ("attention.wq_b", "self_attn.q_b_proj"),
    ("attention.wkv_a", "self_attn.kv_a_proj_with_mqa"),
    ("attention.kv_norm", "self_attn.kv_a_layernorm"),
    ("attention.wkv_b", "self_attn.kv_b_proj"),
    ("attention.wo", "self_attn.o_proj"),
)
_DENSE: tuple[Row, ...] = (
    ("ffn.gate_up", "mlp.gate_proj", "mlp.up_proj"),
    ("ffn.down", "mlp.down_proj"),
)
_MIXTURE: tuple[Row, ...] = (
    ("ffn.router.weight", "mlp.gate.weight"),
    ("ffn.experts.gate_up_EXD", "mlp.experts.{expert}.gate_proj.weight", "mlp.experts.{expert}.up_proj.weight"),
    ("ffn.experts.down_EDI", "mlp.experts.{expert}.down_proj.weight"),
    ("ffn.shared.gate_up", "mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj"),
    ("ffn.shared.down", "mlp.shared_experts.down_proj"),
)
_BIAS: tuple[Row, ...] = (("ffn.router.selection_bias_E", "mlp.gate.e_score_correction_bias"),)
MTP: tuple[Row, ...] = (
    ("embedding_norm", "enorm"),
    ("hidden_norm", "hnorm"),
    ("join", "eh_proj"),
    ("final_norm", "shared_head.norm"),
)
MTP_COPIES: tuple[Row, ...] = (
    ("embedding.weight", "embed_tokens.weight"),
    ("head.weight", "shared_head.head.weight"),
)
"""What an MTP layer stores once more; here it is shared with the main model."""

LAYER_ROWS: dict[str, tuple[Row, ...]] = {
    "llama": (*_NORMS, *_GROUPED, *_DENSE),
    "qwen2": (*_NORMS, *_GROUPED, *_DENSE),
    "deepseek": (*_NORMS, *_GROUPED, *_DENSE, *_MIXTURE),
    "deepseek_v2": (*_NORMS, *_LATENT, *_DENSE, *_MIXTURE),
    "deepseek_v3": (*_NORMS, *_LATENT, *_DENSE, *_MIXTURE, *_BIAS),
}
"""For each `model_type` the modules of a block."""

STALE = re.compile(r"(.*\.)?rotary_emb\.(inv_freq|cos_cached|sin_cached)")
"""Buffers that old releases of transformers stored: constants of the config, passed over."""

_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_MTP_BLOCK = re.compile(r"mtp\.(\d+)\.block\.(.+)")
_MTP_MODULE = re.compile(r"mtp\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Place:
    """Where the numbers of a published tensor stand in a tensor of ours."""

    ours: str
    expert: int | None
    part: int
    parts: int

    def view(self, tensor: Tensor) -> Tensor:
        """The published tensor as a part of ours: contiguous, the same memory."""
        whole = tensor if self.expert is None else tensor[self.expert]
        rows = whole.shape[0] // self.parts
        return whole if self.parts == 1 else whole[self.part * rows : (self.part + 1) * rows]


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that a folder holds, under our names: a tied head is the embedding and stands there once."""
    found = model.state_dict(keep_vars=True)
    if found["head.weight"] is found["embedding.weight"]:
        del found["head.weight"]
    return found


def places(tensors: dict[str, Tensor], model_type: str, n_layers: int) -> dict[str, Place]:
    """Published name -> place, for every number of `tensors`.

    Raises KeyError with our name for a tensor that the family's table lacks.
    """
    found: dict[str, Place] = {}
    for name, tensor in tensors.items():
        prefix, rows, local = _located(name, model_type, n_layers)
        published = _published(rows, local)
        if published is None:
            raise KeyError(name)
        experts: Iterable[int | None] = range(tensor.shape[0]) if "{expert}" in published[0] else (None,)
        for expert in experts:
            for part, theirs in enumerate(published):
                place = Place(name, expert, part, len(published))
                found[prefix + theirs.replace("{expert}", str(expert))] = place
    return found


def copies(n_layers: int, depth: int) -> Iterator[tuple[str, str]]:
    """Published name and our name of what the MTP layers store once more."""
    for layer in range(n_layers, n_layers + depth):
        for ours, theirs in MTP_COPIES:
            yield f"model.layers.{layer}.{theirs}", ours


def _located(name: str, model_type: str, n_layers: int) -> tuple[str, tuple[Row, ...], str]:
    """The layer's prefix, the rows that may hold a tensor of ours, and its name in them."""
    layer_rows = LAYER_ROWS[model_type]
    if match := _BLOCK.fullmatch(name):
        return f"model.layers.{match[1]}.", layer_rows, match[2]
    if model_type == "deepseek_v3":
        if match := _MTP_BLOCK.fullmatch(name):
            return f"model.layers.{n_layers + int(match[1])}.", layer_rows, match[2]
        if match := _MTP_MODULE.fullmatch(name):
            return f"model.layers.{n_layers + int(match[1])}.", MTP, match[2]
    return "", TRUNK, name


def _published(rows: tuple[Row, ...], local: str) -> tuple[str, ...] | None:
    """What a tensor of ours is called, in one or more parts."""
    table = {ours: tuple(theirs) for ours, *theirs in rows}
    module, _, kind = local.rpartition(".")
    if local in table:
        return table[local]
    return tuple(f"{name}.{kind}" for name in table[module]) if module in table else None
