"""GGUF files of the Llama architecture (SmolLM2): llama.cpp's form, read whole into a Transformer.

The package `gguf` knows the table of contents and the quantised numbers, which become fp32 here. llama.cpp stores the
rows of q and k of Llama models in interleaved pairs; they are put back into halves. Left out: writing, other
architectures, scaled RoPE; the vocabulary stands in `gguf_tokenizer`.
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from deepseek_lab.checkpoint.first_rank import are_unread, leave_unread
from deepseek_lab.checkpoint.huggingface.families import read_family
from deepseek_lab.checkpoint.huggingface.keys import Place, places, tensors_of
from deepseek_lab.checkpoint.huggingface.loading import allocate
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.input_files import require_fetched
from deepseek_lab.model.transformer import Transformer

_SIZES = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "vocab_size": "vocab_size",
}
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers.": "blk.",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Parts of a name in a Hugging Face folder -> what llama.cpp calls them."""


class GgufFile:
    """The contents of a file. Raises DataError, in one line, for one that is damaged or of another kind."""

    def __init__(self, path: Path) -> None:
        if find_spec("gguf") is None:
            raise ConfigError("needs the package gguf: pip install 'deepseek-lab[gguf]'", str(path))
        from gguf import GGUFReader

        self.path = path
        require_fetched(path)
        try:
            reader = GGUFReader(path)
            self.fields = {name: field.contents() for name, field in reader.fields.items()}
            self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        except Exception as error:  # the reader trusts its file: it stumbles in many ways
            raise DataError(f"{path}: cannot be read ({type(error).__name__})") from None
        if self.fields.get("general.architecture") != "llama":
            kind = str(self.fields.get("general.architecture"))[:40]
            raise DataError(f"{path}: architecture {kind!r} is unknown here; only llama is read")
        if any(name.startswith("llama.rope.scaling") for name in self.fields) or "rope_freqs.weight" in self.tensors:
            raise DataError(f"{path}: a scaled RoPE is not read from this kind of file")

    def network(self) -> Transformer.Config:
        """Its shape. Raises DataError for one that no network has."""
        values = {ours: self.fields.get(f"llama.{theirs}") for ours, theirs in _SIZES.items()}
        tied = "output.weight" not in self.tensors
        if values["vocab_size"] is None:
            values["vocab_size"] = len(self.fields.get("tokenizer.ggml.tokens", ()))
        layers = values["num_hidden_layers"]
        if isinstance(layers, int) and layers > len(self.tensors):
            raise DataError(f"{self.path}: {layers} layers, but only {len(self.tensors)} tensors")
        known = {name: value for name, value in values.items() if value is not None}
        return read_family({"model_type": "llama", "tie_word_embeddings": tied, **known}, str(self.path), mtp_depth=0)

    def numbers(self, name: str, heads: int | None = None) -> Tensor:
        """A tensor in fp32; `heads`: of q and k, whose rows return to halves."""
        from gguf.quants import dequantize

        tensor = self.tensors[name]
        try:
            wide: Tensor = torch.tensor(dequantize(tensor.data, tensor.tensor_type)).float()
            wide = wide.reshape(tuple(int(size) for size in reversed(tensor.shape)))
        except Exception as error:  # a quantisation that the package does not know
            raise DataError(f"{self.path}: {name} cannot be read ({type(error).__name__})") from None
        if heads is not None:
            wide = wide.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
        return wide


def opened(path: Path) -> GgufFile:
    """The file; read once, unless it has changed since: its tables take seconds."""
    state = path.stat()
    return _opened(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=2)
def _opened(path: Path, changed: int, size: int) -> GgufFile:
    return GgufFile(path)


def load_gguf(path: Path) -> Transformer:
    """The model in fp32 on the CPU, in eval mode. Raises DataError in one line."""
    file = opened(path)
    config = file.network()
    with torch.device("meta"):
        model = config.build()
    wanted = {_stored(name): place for name, place in places(tensors_of(model), "llama", config.n_layers).items()}
    _require_fit(file, wanted, tensors_of(model))
    allocate(model, torch.float32, torch.device("cpu"))
    if are_unread():
        leave_unread(model)
    else:
        _fill(model, file, wanted)
    return model.eval()


@torch.no_grad()
def _fill(model: Transformer, file: GgufFile, wanted: dict[str, Place]) -> None:
    tensors, attention = tensors_of(model), model.config.attention
    heads = {"attn_q": attention.n_heads, "attn_k": attention.n_kv_heads}
    for name, place in wanted.items():
        place.view(tensors[place.ours]).copy_(file.numbers(name, heads.get(name.split(".")[-2])))


def _stored(name: str) -> str:
    for theirs, ours in _NAMES.items():
        name = name.replace(theirs, ours)
    return name


def _require_fit(file: GgufFile, wanted: dict[str, Place], tensors: dict[str, Tensor]) -> None:
    """Raises DataError for a missing, a further, or a tensor of another shape."""
    missing = next((name for name in wanted if name not in file.tensors), None)
    further = next((name for name in file.tensors if name not in wanted), None)
    if missing or further:
        problem = "missing" if missing else "no part of a Llama network"
        raise DataError(f"{file.path}: {missing or further} is {problem}")
    for name, place in wanted.items():
        shape = [int(size) for size in reversed(file.tensors[name].shape)]
        if shape != list(place.view(tensors[place.ours]).shape):
            raise DataError(f"{file.path}: {name} is {shape}, which its sizes contradict")
