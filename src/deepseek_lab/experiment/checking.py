"""Everything that can be refused before data is read or memory taken.

Called for every job of a sweep before the first starts, so it imports torch but not Lightning: an
impossible combination answers in seconds. No model is built: even on `meta` torch would import its
compiler to draw weights.
"""

from pathlib import Path

import torch
from omegaconf import DictConfig

from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.configs import ExperimentConfigs, read_configs
from deepseek_lab.experiment.continued import require_same_run
from deepseek_lab.model.ffn.moe import MixtureOfExperts


def check(cfg: DictConfig) -> None:
    """Raises ConfigError, with the path of the key, for a config that cannot run."""
    configs = read_configs(cfg)
    _check_sizes(configs)
    _check_devices(configs)
    _check_batch(configs)
    if isinstance(configs.model.ffn, MixtureOfExperts.Config):
        configs.balance.check_experts(configs.model.ffn.n_routed_experts)
    if cfg.resume:
        require_same_run(cfg, Path(cfg.resume))


def _check_sizes(configs: ExperimentConfigs) -> None:
    longest, needed = configs.model.max_seq_len, configs.tokenizer.largest_vocabulary
    if configs.data.seq_len > longest:
        raise ConfigError(f"= {configs.data.seq_len} is longer than model.max_seq_len = {longest}", "data.seq_len")
    if configs.model.vocab_size < needed:
        raise ConfigError(
            f"= {configs.model.vocab_size} is less than the tokenizer's {needed} tokens", "model.vocab_size"
        )


def _check_devices(configs: ExperimentConfigs) -> None:
    settings = configs.trainer
    if settings.accelerator != "gpu":
        return
    if not torch.cuda.is_available():
        raise ConfigError("is gpu, but torch sees none here; use trainer=cpu", "trainer.accelerator")
    if settings.devices > torch.cuda.device_count():
        raise ConfigError(f"is {settings.devices}, but torch sees {torch.cuda.device_count()}", "trainer.devices")


def _check_batch(configs: ExperimentConfigs) -> None:
    """Whether a step can be cut into the ranks' micro-batches."""
    data, devices = configs.data, configs.trainer.devices
    size = data.micro_batch_size or 1
    for name in ("batch_size", "batch_size_start"):
        value = getattr(data, name)
        if value is not None and value % (size * devices):
            raise ConfigError(f"= {value} is no multiple of {devices} × micro-batches of {size}", f"data.{name}")
