"""Sheet keys that were typed and change nothing: `attention=mha model.kv_lora_rank=64`.

The shape sheet (`model/*.yaml`) holds what every kind of attention and feed-forward would measure,
so such a key is right and yet has no effect. That is worth one line, not a refusal: a sweep over
attentions sets it for the one attention that reads it.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

SHEET = "model"

SHEET_READS = frozenset(
    {"dim", "n_layers", "vocab_size", "max_seq_len", "norm_eps", "init_std", "tie_embeddings", "rope"}
)
"""The keys of the sheet that every network reads itself (`Transformer.Config`), whatever leaves are chosen."""

_ABSOLUTE = re.compile(rf"(?<![\w.]){SHEET}\.(\w+)")
_RELATIVE = re.compile(r"\$\{\.(\w+)")


def _interpolations(value: Any) -> Iterator[str]:
    """Every string with an interpolation below `value`."""
    if isinstance(value, dict):
        for child in value.values():
            yield from _interpolations(child)
    elif isinstance(value, list):
        for child in value:
            yield from _interpolations(child)
    elif isinstance(value, str) and "${" in value:
        yield value


def read_sheet_keys(config: DictConfig, reads: Collection[str]) -> set[str]:
    """The sheet's keys that the chosen leaves take by interpolation, and those in `reads`.

    A key that only another key of the sheet refers to counts when that one is read.
    """
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    sheet = raw.get(SHEET) or {}
    outside = (text for key, node in raw.items() if key not in (SHEET, "hydra") for text in _interpolations(node))
    waiting = set(reads).union(*(_ABSOLUTE.findall(text) for text in outside))
    found: set[str] = set()
    while waiting:
        key = waiting.pop()
        found.add(key)
        for text in _interpolations(sheet.get(key)):
            waiting |= {*_ABSOLUTE.findall(text), *_RELATIVE.findall(text)} - found
    return found


def unread_sheet_keys(typed: Iterable[str], configs: Iterable[DictConfig], reads: Collection[str]) -> list[str]:
    """The typed `model.*` keys that no job's network reads.

    `typed` are keys as written (`model.kv_lora_rank`), `reads` the names of the sheet that the
    network reads itself, whatever leaves are chosen.
    """
    sheet_keys = [key for key in dict.fromkeys(typed) if key.startswith(f"{SHEET}.")]
    if not sheet_keys:
        return []
    read = set().union(*(read_sheet_keys(config, reads) for config in configs))
    return [key for key in sheet_keys if key.split(".")[1] not in read]
