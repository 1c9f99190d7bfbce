"""What a folder said that is no part of the network, kept beside a loaded model so that it is written back.

Token ids, dead fields of the config, whether MTP layers came with copies of the embedding: a model's own config has
no room for them, and a model that was loaded and saved should be the same folder. Kept as long as the model lives.
"""

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn


@dataclass(frozen=True)
class Origin:
    """config: the config.json of the language model; with_copies: whether MTP layers hold embedding and head again."""

    config: dict[str, Any] = field(default_factory=dict)
    with_copies: bool = True


_ORIGINS: "WeakKeyDictionary[nn.Module, Origin]" = WeakKeyDictionary()


def remember(model: nn.Module, origin: Origin) -> None:
    """Keeps `origin` as long as `model` lives."""
    _ORIGINS[model] = origin


def origin_of(model: nn.Module) -> Origin:
    """Where a model was loaded from; for any other model one that says nothing."""
    return _ORIGINS.get(model, Origin())
