"""Language models inside larger ones: DeepSeek-VL's, whose tensors carry a prefix and whose config is nested.

`multi_modality` is the form of DeepSeek's own folders, `deepseek_vl` that of transformers. The vision tower and the
aligner are passed over.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_lab.checkpoint.huggingface.families import ARCHITECTURES
from deepseek_lab.config import DataError, nearest


@dataclass(frozen=True)
class Wrapping:
    """How names of a language model are spelt in its folder: `prefix` takes the place of `replaced`."""

    node: str = ""
    replaced: str = ""
    prefix: str = ""

    def outer(self, name: str) -> str:
        """The stored name of a tensor of the language model."""
        return self.prefix + name.removeprefix(self.replaced) if name.startswith(self.replaced) else name

    def inner(self, name: str) -> str:
        """The language model's name of a stored tensor; others keep theirs."""
        return self.replaced + name.removeprefix(self.prefix) if name.startswith(self.prefix) else name

    def is_foreign(self, name: str) -> bool:
        """Whether a stored tensor belongs to another part of the larger model."""
        return bool(self.node) and not name.startswith(self.prefix) and name.split(".")[0] != "lm_head"


PLAIN = Wrapping()
WRAPPED = {
    "multi_modality": Wrapping("language_config", "", "language_model."),
    "deepseek_vl": Wrapping("text_config", "model.", "model.language_model."),
    "deepseek_vl_hybrid": Wrapping("text_config", "model.", "model.language_model."),
}
_TIED_BY_DEFAULT = ("deepseek_vl", "deepseek_vl_hybrid")


def unwrap(values: dict[str, Any], where: Path) -> tuple[dict[str, Any], Wrapping]:
    """The language model's own config and where its tensors lie. Raises DataError for an unknown model_type."""
    kind = values.get("model_type")
    if isinstance(kind, str) and kind in WRAPPED:
        wrapping = WRAPPED[kind]
        inner = values.get(wrapping.node)
        if not isinstance(inner, dict):
            raise DataError(f"{where}: model_type {kind} without {wrapping.node}")
        inner = {"model_type": "llama", **inner}
        if kind in _TIED_BY_DEFAULT:  # the outer word counts, and silence means yes
            inner["tie_word_embeddings"] = values.get("tie_word_embeddings", True)
        values = inner
    else:
        wrapping = PLAIN
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        known = [*ARCHITECTURES, *WRAPPED]
        close = nearest(kind, known) if isinstance(kind, str) else ""
        raise DataError(f"{where}: model_type {str(kind)[:40]!r} is unknown here; known: {', '.join(known)}{close}")
    return values, wrapping
