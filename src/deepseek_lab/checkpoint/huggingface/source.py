"""A published folder before any number is read: its config, its tensors, and how the two fit each other."""

import re
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from deepseek_lab.checkpoint.huggingface.families import ARCHITECTURES, read_family
from deepseek_lab.checkpoint.huggingface.folder import CONFIG, TensorFolder
from deepseek_lab.checkpoint.huggingface.keys import STALE, Place, copies, places, tensors_of
from deepseek_lab.checkpoint.huggingface.plain_json import read_json
from deepseek_lab.checkpoint.huggingface.scaled_blocks import SCALE, BlockFormat, block_format, scale_of
from deepseek_lab.checkpoint.huggingface.wrapped import unwrap
from deepseek_lab.config import ConfigError, DataError, nearest
from deepseek_lab.model.transformer import Transformer

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
HEAD = "lm_head.weight"
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Comparison:
    """What does not fit, under the published names; `passed_over` is known and not needed."""

    missing: list[str]
    unexpected: list[str]
    wrong: list[str]
    passed_over: list[str]


class Source:
    """A folder and the network that its config.json describes.

    Raises DataError, in one line, for anything that is not sound; the comparison with the weights is a step of its
    own (`require_fit`), so that it can also be shown.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        where = path / CONFIG
        if not where.is_file():
            raise DataError(f"{path}: no {CONFIG}, so no model of Hugging Face's form")
        whole = read_json(where)
        _require_no_remote_code(whole, where)
        self.values, self.wrapping = unwrap(whole, where)
        self.model_type: str = self.values["model_type"]
        self.folder = TensorFolder(path)
        self.blocks: BlockFormat | None = block_format(self.values.get("quantization_config"), str(where))
        self._require_countable(str(where))
        try:
            self.config: Transformer.Config = read_family(self.values, str(where), self._mtp_depth())
        except (TypeError, ValueError, AttributeError) as error:  # a value of a kind that nobody foresaw
            raise DataError(f"{where}: describes no network ({str(error).splitlines()[0][:120]})") from None
        if self.config.tie_embeddings and self._head_is_its_own():
            self.config = replace(self.config, tie_embeddings=False)
            warnings.warn(
                f"{path}: {HEAD} differs from the embedding that its config ties it to, and is read as it is stored",
                stacklevel=2,
            )

    def _head_is_its_own(self) -> bool:
        """Whether a head is stored whose numbers are not the embedding's."""
        names = [self.stored(name) for name in (HEAD, "model.embed_tokens.weight")]
        if not all(name in self.folder for name in names):
            return False
        head, embedding = (self.folder.entry(name) for name in names)
        if head.shape != embedding.shape or not {head.dtype, embedding.dtype} <= set(FLOATS):
            return False  # which `compare` says
        wide = torch.promote_types(head.dtype, embedding.dtype)
        return not torch.equal(*(self.folder.read(name).to(wide) for name in names))

    def _spare_layers(self) -> set[int]:
        """MTP layers that are stored behind what the config promises."""
        found = (_LAYER.fullmatch(self.wrapping.inner(name)) for name in self.folder.names)
        mtp = {int(match[1]) for match in found if match and match[2] == "eh_proj.weight"}
        return {layer for layer in mtp if layer >= self.config.n_layers + self.config.mtp.depth}

    def _require_countable(self, where: str) -> None:
        """More layers or experts than there are tensors are not even built on `meta`."""
        for name in ("num_hidden_layers", "n_routed_experts", "num_nextn_predict_layers"):
            value = self.values.get(name)
            if isinstance(value, int) and value > len(self.folder.names) and not self._unused(name):
                raise DataError(f"{where}: {name} is {value}, but the weights are {len(self.folder.names)} tensors")

    def _unused(self, name: str) -> bool:
        return name == "n_routed_experts" and not any(".experts." in key for key in self.folder.names)

    def _mtp_depth(self) -> int:
        """How many MTP layers to build: as promised, but none where not one is stored (transformers drops them)."""
        layers = self.values.get("num_hidden_layers")
        promised = self.values.get("num_nextn_predict_layers", 0)
        if self.model_type != "deepseek_v3" or not isinstance(layers, int) or not isinstance(promised, int):
            return 0
        stored = any(self.wrapping.inner(name).startswith(f"model.layers.{layers}.") for name in self.folder.names)
        return max(promised, 0) if stored else 0

    @cached_property
    def blueprint(self) -> Transformer:
        """The network on `meta`. Raises DataError when no machine could hold its sizes."""
        try:
            with torch.device("meta"):
                return self.config.build()
        except (ConfigError, RuntimeError, OverflowError, TypeError, ValueError) as error:
            cause = str(error).splitlines()[0][:120]
            raise DataError(f"{self.path / CONFIG}: describes no network that can be built ({cause})") from None

    @cached_property
    def places(self) -> dict[str, Place]:
        """Published name (without wrapping) -> place, for every number of the network."""
        return places(tensors_of(self.blueprint), self.model_type, self.config.n_layers)

    @cached_property
    def copies(self) -> dict[str, str]:
        """Published name -> ours, of tensors that stand in the folder a second time."""
        twice = dict(copies(self.config.n_layers, self.config.mtp.depth))
        if self.config.tie_embeddings:
            twice[HEAD] = "embedding.weight"
        return twice

    @property
    def dtype(self) -> torch.dtype:
        """What the config says of the weights, else what most of them are; fp32 for FP8 without a word."""
        named = self.values.get("torch_dtype", self.values.get("dtype"))
        if isinstance(named, str) and (known := {str(d).removeprefix("torch."): d for d in FLOATS}.get(named)):
            return known
        kinds = [self.folder.entry(name).dtype for name in self.folder.names]
        most = max(set(kinds), key=kinds.count)
        return most if most in FLOATS else torch.float32

    def stored(self, name: str) -> str:
        """The name in the files of a tensor of the language model."""
        return self.wrapping.outer(name)

    def compare(self) -> Comparison:
        """Config against weights, by names, shapes and dtypes."""
        tensors = tensors_of(self.blueprint)
        found = {self.wrapping.inner(name): name for name in self.folder.names}
        missing = [self.stored(name) for name in self.places if name not in found]
        wanted = {name: tuple(place.view(tensors[place.ours]).shape) for name, place in self.places.items()}
        wanted |= {name: tuple(tensors[ours].shape) for name, ours in self.copies.items() if ours in tensors}
        wrong = [problem for name in wanted if name in found if (problem := self._problem(found[name], wanted[name]))]
        spare = self._spare_layers()
        rest = [n for n in found if n not in wanted and n not in self.copies and not self._is_scale(found[n])]
        over = [found[name] for name in rest if self._passed_over(name, found[name], spare)]
        unexpected = [found[name] for name in rest if not self._passed_over(name, found[name], spare)]
        return Comparison(missing, unexpected, wrong, over + [found[n] for n in self.copies if n in found])

    def _passed_over(self, inner: str, stored: str, spare: set[int]) -> bool:
        layer = _LAYER.fullmatch(inner)
        known = bool(STALE.fullmatch(inner)) or self.wrapping.is_foreign(stored)
        return known or (layer is not None and int(layer[1]) in spare)

    def _is_scale(self, stored: str) -> bool:
        weight = stored.removesuffix(SCALE) + ".weight"
        narrow = stored.endswith(SCALE) and weight in self.folder
        return narrow and self.folder.entry(weight).dtype not in FLOATS

    def _problem(self, name: str, shape: tuple[int, ...]) -> str | None:
        entry = self.folder.entry(name)
        if entry.shape != shape:
            return f"{name} is {list(entry.shape)}, its config says {list(shape)}"
        if entry.dtype in FLOATS:
            return None
        if self.blocks is None or entry.dtype != torch.float8_e4m3fn:
            return f"{name} holds {str(entry.dtype).removeprefix('torch.')}, and no config that says what it stands for"
        scale = scale_of(name)
        if scale not in self.folder:
            return f"{name} has no {scale.rpartition('.')[2]} beside it"
        given = self.folder.entry(scale)
        if given.shape != self.blocks.scale_shape(shape) or given.dtype not in (*FLOATS, torch.float8_e8m0fnu):
            return f"{scale} is {list(given.shape)}, which does not cover the blocks of {list(shape)}"
        return None

    def require_fit(self) -> None:
        """Raises DataError, in one line, for weights that are not those of the config."""
        seen = self.compare()
        if spare := self._spare_layers():
            layers = ", ".join(map(str, sorted(spare)))
            warnings.warn(
                f"{self.path}: MTP layer {layers} is stored, but not promised by num_nextn_predict_layers: passed over",
                stacklevel=2,
            )
        if seen.wrong:
            raise DataError(f"{self.path}: {seen.wrong[0]}{_more(seen.wrong)}")
        if seen.missing:
            close = nearest(seen.missing[0], seen.unexpected) if seen.unexpected else ""
            raise DataError(f"{self.path}: {seen.missing[0]} is missing{_more(seen.missing)}{close}")
        if seen.unexpected:
            raise DataError(
                f"{self.path}: {seen.unexpected[0][:80]} is no part of its config's network{_more(seen.unexpected)}"
            )


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _require_no_remote_code(values: dict[str, Any], where: Path) -> None:
    """Raises DataError for `auto_map` other than that of DeepSeek's own folders, whose classes stand here."""
    given = values.get("auto_map") or {}
    if not isinstance(given, dict):
        raise DataError(f"{where}: auto_map is no object")
    for target in given.values():
        repository, _, module = str(target).rpartition("--")
        known = module.split(".")[0] in ("configuration_deepseek", "modeling_deepseek")
        released = known and repository.split("/")[0] in ("", "deepseek-ai")
        if not released or values.get("model_type") not in ARCHITECTURES:
            raise DataError(f"{where}: auto_map asks for code of its own ({str(target)[:80]!r}), which is never run")
