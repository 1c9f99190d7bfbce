"""`scripts/inspect_checkpoint.py`: what is in a checkpoint, and whether its weights are those of its config.

Only tables of contents are read, so that the largest answers in a second.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from deepseek_lab.checkpoint.gguf_file import opened
from deepseek_lab.checkpoint.huggingface.families import ARCHITECTURES
from deepseek_lab.checkpoint.huggingface.source import Source
from deepseek_lab.checkpoint.located import is_gguf
from deepseek_lab.checkpoint.native import describe, model_weights, read_checkpoint, rebuild, require_sizes
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.experiment.finished import FinishedRun, find_run
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.model.value_head import ValueModel
from deepseek_lab.planning.counts import count

SHOWN = 8
"""Names of a kind that are listed; of more, how many."""


def check_inspection(cfg: DictConfig) -> None:
    """Raises ConfigError."""
    if cfg.format not in ("text", "json"):
        raise ConfigError(f"must be text or json, not {cfg.format!r}", "format")


def inspect(cfg: DictConfig) -> None:
    """Prints what was found. Raises DataError, after that, for weights that do not fit their config."""
    check_inspection(cfg)
    found = find_run(cfg.checkpoint)
    if isinstance(found, FinishedRun):
        _show(of_run(found), cfg.format)
    elif is_gguf(found.folder):
        _show(of_gguf(found.folder), cfg.format)
    else:
        source = Source(found.folder)
        _show(of_folder(source), cfg.format)
        source.require_fit()


def of_folder(source: Source) -> dict[str, Any]:
    """A Hugging Face folder: family, sizes, dtypes, and what is missing, unexpected, wrong or passed over."""
    seen, folder = source.compare(), source.folder
    entries = [folder.entry(name) for name in folder.names]
    return {
        "checkpoint": str(source.path),
        "form": "Hugging Face folder",
        "model_type": source.model_type,
        "architecture": ARCHITECTURES[source.model_type],
        "files": len({folder.file_of(name) for name in folder.names}),
        "bytes": sum(entry.n_bytes for entry in entries),
        "dtypes": _dtypes((entry.dtype, 1) for entry in entries),
        **_sizes(source.config),
        "missing": seen.missing,
        "unexpected": seen.unexpected,
        "wrong": seen.wrong,
        "passed_over": seen.passed_over,
    }


def of_run(run: FinishedRun) -> dict[str, Any]:
    """A run's checkpoint. Raises DataError for a damaged one, and for weights that do not fit their config."""
    content = read_checkpoint(run.checkpoint, mapped=True)
    config = rebuild(content["model_config"], f"{run.checkpoint}: model_config")
    weights = model_weights(content)
    if not isinstance(config, (Transformer.Config, ValueModel.Config)):
        raise DataError(f"{run.checkpoint}: model_config is no network's")
    require_sizes(config, weights, run.checkpoint)
    said = {"checkpoint": str(run.checkpoint), "form": "run", "kind": describe(config)["kind"]}
    said |= {"bytes": run.checkpoint.stat().st_size, "dtypes": _dtypes((w.dtype, 1) for w in weights.values())}
    return said | _sizes(config if isinstance(config, Transformer.Config) else config.backbone)


def of_gguf(path: Path) -> dict[str, Any]:
    """A GGUF file."""
    file = opened(path)
    kinds = Counter(tensor.tensor_type.name for tensor in file.tensors.values())
    said = {"checkpoint": str(path), "form": "GGUF file", "model_type": "llama", "bytes": path.stat().st_size}
    return said | {"dtypes": dict(kinds), **_sizes(file.network())}


def _dtypes(found: Iterable[tuple[torch.dtype, int]]) -> dict[str, int]:
    """How many tensors are of each dtype."""
    counted: Counter[str] = Counter()
    for dtype, times in found:
        counted[str(dtype).removeprefix("torch.")] += times
    return dict(counted)


def _sizes(config: Transformer.Config) -> dict[str, Any]:
    with torch.device("meta"):
        counts = count(config.build(), seq_len=config.max_seq_len)
    return {
        "parameters": counts.total_params,
        "active_parameters": counts.active_params,
        "mtp_parameters": counts.mtp_params,
        "kv_cache_elements_per_token": counts.kv_cache_elements_per_token,
        "network": describe(config),
    }


def _show(said: dict[str, Any], form: str) -> None:
    if form == "json":
        print(json.dumps(said, indent=1))
        return
    for name, value in said.items():
        if isinstance(value, list):
            print(f"{name:>27}  {len(value)}{': ' if value else ''}{', '.join(value[:SHOWN])}{_rest(value)}")
        elif name == "network":
            print(f"{name:>27}  {_flat(value)}")
        else:
            text = ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else value
            print(f"{name:>27}  {f'{text:,}' if isinstance(text, int) else text}")


def _rest(names: list[str]) -> str:
    return f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""


def _flat(network: dict[str, Any]) -> str:
    """`dim=64 n_layers=3 … attention(n_heads=4 …)`."""
    parts = []
    for name, value in network.items():
        if isinstance(value, dict):
            parts.append(f"{name}({_flat(value)})")
        elif name == "kind" or value is not None:
            parts.append(str(value) if name == "kind" else f"{name}={value}")
    return " ".join(parts)
