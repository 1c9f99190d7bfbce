"""`save_pretrained`: a Transformer becomes a Hugging Face folder that transformers and vLLM read.

All files are written beside the target and take their names at the end, config.json last: a folder never holds half
a model under the name of a whole one. Files that the target holds already, such as a tokenizer, stay.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.checkpoint.huggingface.folder import CONFIG, INDEX, SINGLE
from deepseek_lab.checkpoint.huggingface.keys import Place, copies, places, tensors_of
from deepseek_lab.checkpoint.huggingface.origin import Origin, origin_of
from deepseek_lab.checkpoint.huggingface.published_config import published_config
from deepseek_lab.checkpoint.huggingface.scaled_blocks import (
    RELEASED,
    SCALE,
    is_scaled,
    quantisation,
    scale_of,
)
from deepseek_lab.checkpoint.huggingface.tensor_file import Description, write_tensors
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.disk import naming
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.precision.stored import StoredLinear, narrowed

SHARD_BYTES = 5_000_000_000
_NOT_WRITTEN_BACK = {"auto_map", "quantization_config", "_name_or_path", "transformers_version", "dtype"}
_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def save_pretrained(
    model: Transformer,
    path: str | Path,
    *,
    fp8: bool = False,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    tokens: dict[str, Any] | None = None,
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Writes config.json, generation_config.json and the weights.

    fp8: the products of attention and FFNs in e4m3 with scales of 128×128 blocks (DeepSeek-V3's form)
    dtype: of everything else; None keeps the model's own. Selection biases are fp32 in any case.
    shard_bytes: a file holds at most as much, or one tensor
    tokens: bos_token_id, eos_token_id and pad_token_id; None takes those of the folder that the model came from
    beside: writes further files (a tokenizer's) into the folder it is given, which is not yet `path`
    Raises ConfigError, naming the field, for a network that no published class computes; OSError from the disk.
    """
    _require_whole(model)
    origin = origin_of(model)
    config = _config(model, origin, dtype, fp8, tokens)
    content = _Content(model, config["model_type"], origin.with_copies, dtype, fp8)
    folder = Path(path).expanduser()
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file, not a folder")
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        with naming(folder):
            _write_weights(partial, content, shard_bytes)
            _write_json(partial / "generation_config.json", {name: config[name] for name in _TOKENS})
            _write_json(partial / CONFIG, config)
            if beside is not None:
                beside(partial)
            _take_names(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if made and not any(folder.iterdir()):
            folder.rmdir()


def _require_whole(model: nn.Module) -> None:
    """Raises ConfigError for what is no language model, or keeps its weights in a form of its own."""
    if not isinstance(model, Transformer):
        raise ConfigError(f"is a {type(model).__name__}, and only a Transformer has a published class", "model")
    if any(isinstance(module, StoredLinear) for module in model.modules()):
        raise ConfigError("was loaded with keep_fp8, and is to be used, not saved; load it without", "model")


def _config(
    model: Transformer, origin: Origin, dtype: torch.dtype | None, fp8: bool, tokens: dict[str, Any] | None
) -> dict[str, Any]:
    """The config.json: the network, and what the folder it came from said beside."""
    config = published_config(model.config, origin.config.get("model_type"))
    same_kind = origin.config.get("model_type") == config["model_type"]
    beside = {
        name: value
        for name, value in (origin.config.items() if same_kind else ())
        if name not in config and name not in _NOT_WRITTEN_BACK and name != "rope_parameters"
    }
    given = tokens or {name: origin.config.get(name) for name in _TOKENS}
    width = str(dtype or model.embedding.weight.dtype).removeprefix("torch.")
    narrow = {"quantization_config": quantisation()} if fp8 else {}
    return {**config, **beside, **{name: given.get(name) for name in _TOKENS}, "torch_dtype": width, **narrow}


class _Content:
    """The tensors of the folder: described first, made when their turn comes."""

    def __init__(
        self, model: Transformer, model_type: str, with_copies: bool, dtype: torch.dtype | None, fp8: bool
    ) -> None:
        self._tensors = tensors_of(model)
        n_layers, depth = model.config.n_layers, model.config.mtp.depth
        self._places = places(self._tensors, model_type, n_layers)
        for name, ours in copies(n_layers, depth if with_copies else 0):
            held = "embedding.weight" if ours not in self._tensors else ours
            self._places[name] = Place(held, None, 0, 1)
        self._dtype, self._fp8 = dtype, fp8
        self._scale: tuple[str, Tensor] | None = None

    def descriptions(self) -> Iterator[list[Description]]:
        """Each tensor, with its scales where it has some: what stands together in one file."""
        for name in sorted(self._places, key=_natural):
            tensor = self._tensor(name)
            shape = tuple(tensor.shape)
            if self._fp8 and is_scaled(name, shape):
                scale = Description(scale_of(name), torch.float32, RELEASED.scale_shape(shape))
                yield [Description(name, torch.float8_e4m3fn, shape), scale]
            else:
                yield [Description(name, self._width(tensor, name), shape)]

    def produce(self, name: str) -> Tensor:
        """The numbers of a described tensor; scales are asked for right after their weights."""
        if name.endswith(SCALE):
            assert self._scale is not None
            assert self._scale[0] == name
            return self._scale[1]
        tensor = self._tensor(name)
        if not (self._fp8 and is_scaled(name, tuple(tensor.shape))):
            return tensor
        narrow, scale = narrowed(tensor)
        self._scale = (scale_of(name), scale)
        return narrow

    def _tensor(self, name: str) -> Tensor:
        place = self._places[name]
        return place.view(self._tensors[place.ours].detach())

    def _width(self, tensor: Tensor, name: str) -> torch.dtype:
        return tensor.dtype if self._dtype is None or name.endswith("e_score_correction_bias") else self._dtype


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts layer 2 before layer 10, and experts too."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _write_weights(folder: Path, content: _Content, shard_bytes: int) -> None:
    if shard_bytes < 1:
        raise ConfigError(f"must be at least 1, not {shard_bytes}", "shard_bytes")
    shards: list[list[Description]] = [[]]
    size = 0
    for together in content.descriptions():
        more = sum(row.n_bytes for row in together)
        if shards[-1] and size + more > shard_bytes:
            shards.append([])
            size = 0
        shards[-1] += together
        size += more
    if len(shards) == 1:
        write_tensors(folder / SINGLE, shards[0], content.produce)
        return
    names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        write_tensors(folder / name, shard, content.produce)
    weight_map = {row.name: name for name, shard in zip(names, shards, strict=True) for row in shard}
    total = sum(row.n_bytes for shard in shards for row in shard)
    _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text_atomically(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def _take_names(partial: Path, folder: Path) -> None:
    """Puts the files in place; older weights go first, and without config.json the folder is no model meanwhile."""
    for old in (folder / CONFIG, folder / INDEX, *folder.glob("model*.safetensors")):
        old.unlink(missing_ok=True)
    for file in sorted(partial.iterdir(), key=lambda file: file.name == CONFIG):
        file.replace(folder / file.name)
