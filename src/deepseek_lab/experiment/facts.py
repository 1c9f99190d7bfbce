"""What a run says of itself in HParams and in `summary.json`: plain values, the same keys in every run."""

from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from deepseek_lab.experiment.configs import ExperimentConfigs
from deepseek_lab.planning.counts import Counts
from deepseek_lab.sweep import matching

GROUPS = (
    *("model", "attention", "ffn", "balance", "mtp", "precision", "tokenizer", "data"),
    *("optimizer", "schedule", "trainer", "stage", "match", "experts", "experiment", "ablation"),
)


def choices() -> dict[str, str | None]:
    """The option chosen in each group."""
    chosen = HydraConfig.get().runtime.choices
    return {group: chosen.get(group) for group in GROUPS}


def summary_facts(
    cfg: DictConfig, run_folder: Path, configs: ExperimentConfigs, counts: Counts, data: Any
) -> dict[str, Any]:
    """What `summary.json` holds beside the measured values."""
    match = matching.facts(cfg, configs.match, counts)
    bytes_each = torch.empty(0, dtype=torch.float32).element_size()
    return {
        "name": run_folder.name,
        "sweep": cfg.sweep,
        "seed": configs.seed,
        "choices": choices(),
        "overrides": matching.without_solved(list(map(str, HydraConfig.get().overrides.task)), match),
        "counts": vars(counts),
        "match": match,
        "kv_cache_bytes_per_token": counts.kv_cache_elements_per_token * bytes_each,
        "kv_cache_dtype": "float32",
        "baselines": data.baselines(),
        "data": data.manifest,
    }


def hyperparameters(configs: ExperimentConfigs, counts: Counts) -> dict[str, bool | int | float | str]:
    """About 15 flat keys for TensorBoard's HParams page."""
    chosen = choices()
    words = {name: str(chosen[name]) for name in ("model", "attention", "ffn", "balance", "mtp", "precision")}
    model, data = configs.model, configs.data
    return {
        **words,
        "dim": model.dim,
        "n_layers": model.n_layers,
        "total_params": counts.total_params,
        "active_params": counts.active_params,
        "kv_cache_elements": counts.kv_cache_elements_per_token,
        "lr": configs.optimizer.lr,
        "seq_len": data.seq_len,
        "batch_size": data.batch_size,
        "max_steps": configs.trainer.max_steps,
        "seed": configs.seed,
    }
