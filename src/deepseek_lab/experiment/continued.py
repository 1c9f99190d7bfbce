"""What a resumed run may not change: its network, its data, its seed.

Compared with the config stored in the run's folder, before anything in that folder is written. Optimiser,
schedule, balance, precision and trainer may change: a run goes on with another learning rate or on
another machine. The checkpoint's own refusal (`stages.loop.resume`) stays, for folders edited by hand.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepseek_lab.checkpoint.located import latest_checkpoint
from deepseek_lab.checkpoint.native import require_archive
from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.finished import stored_config

KEPT = ("seed", "model", "attention", "ffn", "mtp", "tokenizer", "data", "task", "template")
FREE = re.compile(r"data\.(n_workers|micro_batch_size|(.+\.)?(cache_dir|keep_shards))")
"""Keys of the kept parts that change where or how fast things happen, and no number."""


def require_same_run(cfg: DictConfig, run: Path) -> None:
    """Raises ConfigError for the first value that `run` was not made with, DataError for a damaged run.

    A key that the stored config does not know yet (an older run) is not compared.
    """
    require_archive(latest_checkpoint(run))
    stored = dict(_values(stored_config(run)))
    for key, value in _values(cfg):
        if not FREE.fullmatch(key) and stored.get(key, value) != value:
            raise ConfigError(f"is {value!r}, but the run that is resumed has {stored[key]!r} and keeps it", key)


def _values(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """Every value of the kept parts under its dotted key, interpolations resolved."""
    for key in KEPT:
        node = OmegaConf.select(cfg, key)
        yield from _flat(key, OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node)


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for key, child in value.items():
        yield from _flat(f"{path}.{key}", child)
