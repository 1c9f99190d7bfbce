"""Hydra's store of structured configs, shared instead of copied.

Hydra copies its whole list of sources for each choice group that `--help` prints, and in it the store, one object of
the process that nothing changes after start-up: half of the time that an answer took. Shared, the answer is the same.
"""

from typing import Any

from hydra.core.config_store import ConfigStore


def share_store() -> None:
    """From here on a copy of what holds the store holds the store itself."""
    ConfigStore.__deepcopy__ = _itself  # type: ignore[attr-defined]


def _itself(store: ConfigStore, memo: dict[int, Any]) -> ConfigStore:
    return store
