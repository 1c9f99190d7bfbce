"""`scripts/evaluate.py`: a checkpoint's loss on held-out text, the same numbers as in training."""

import json

import torch
from omegaconf import DictConfig

from deepseek_lab.checkpoint import read_checkpoint
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.experiment.configs import read_configs
from deepseek_lab.experiment.finished import device_of, find_run
from deepseek_lab.stages.held_out import evaluate as held_out


def evaluate(cfg: DictConfig) -> float:
    """Prints val/loss, val/perplexity and val/bits_per_byte as one JSON object; returns the loss.

    Raises DataError when the text is not the one the run was trained on (another Python version, say).
    """
    check_evaluation(cfg)
    device = device_of(cfg.accelerator)
    if cfg.n_threads:
        torch.set_num_threads(cfg.n_threads)
    run = find_run(cfg.checkpoint)
    configs = read_configs(run.config)
    data = configs.data.build(configs.tokenizer, configs.model.vocab_size, configs.seed)
    trained_on = read_checkpoint(run.checkpoint)["run"]["data"]
    if trained_on != data.manifest["hash"]:
        raise DataError(
            f"{run.checkpoint}: was trained on data {trained_on}, here the same config gives {data.manifest['hash']}"
        )
    limit = configs.trainer.validation_batches if cfg.batches is None else cfg.batches
    batches = data.validation_batches(limit, split="val" if cfg.split == "validation" else "test")
    values = held_out(run.model(device), batches, torch.as_tensor(data.token_bytes_V), configs.data.isolate_documents)
    print(json.dumps({"checkpoint": str(run.checkpoint), "split": cfg.split, **values}, indent=1))
    return values["val/loss"]


def check_evaluation(cfg: DictConfig) -> None:
    """Raises ConfigError for values that no evaluation has."""
    if cfg.split not in ("validation", "test"):
        raise ConfigError(f"must be validation or test, not {cfg.split!r}", "split")
    if cfg.batches is not None and (not isinstance(cfg.batches, int) or cfg.batches < 1):
        raise ConfigError(f"must be null or an integer of at least 1, not {cfg.batches!r}", "batches")
    device_of(cfg.accelerator)
