"""Everything that can be refused before data is read or memory taken.

Called for every job of a sweep before the first starts, so it imports torch but not Lightning: an
impossible combination answers in seconds. No model is built, not even on `meta`.
"""

import os
from pathlib import Path

import torch
from omegaconf import DictConfig

from deepseek_lab.command_line.ranks import started
from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.compiling import check_compile
from deepseek_lab.experiment.configs import ExperimentConfigs, read_configs
from deepseek_lab.experiment.continued import require_same_run
from deepseek_lab.experiment.finished import device_of
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.precision.recipe import Float8
from deepseek_lab.precision.selection import backend_of


def check(cfg: DictConfig) -> None:
    """Raises ConfigError, with the path of the key, for a config that cannot run."""
    configs = read_configs(cfg)
    _check_devices(configs)
    _check_processes(configs)
    check_parts(configs)
    _check_precision(configs)
    check_compile(configs, device_of(configs.trainer.accelerator).type)
    _check_profile(configs)
    if configs.stage.needs_start and not cfg.init_from:
        raise ConfigError(f"is needed: stage={configs.stage.name} starts from a trained run", "init_from")
    if cfg.resume:
        require_same_run(cfg, Path(cfg.resume))


def check_parts(configs: ExperimentConfigs) -> None:
    """Raises ConfigError for parts that fit together on no machine; what this machine has plays no role."""
    _check_sizes(configs)
    _check_batch(configs)
    _check_match(configs)
    _check_data(configs)
    configs.data.check_with(configs.tokenizer)
    if isinstance(configs.model.ffn, MixtureOfExperts.Config):
        configs.balance.check_experts(configs.model.ffn.n_routed_experts)


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
    if settings.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("is gpu, but torch sees none here; use trainer=cpu", "trainer.accelerator")
    on_gpu = device_of(settings.accelerator).type == "cuda"
    available = torch.cuda.device_count() if on_gpu else os.cpu_count() or 1
    if settings.devices > available:
        what = "GPUs that torch sees" if on_gpu else "processor cores"
        raise ConfigError(f"= {settings.devices} is more than the {available} {what} here", "trainer.devices")


def _check_processes(configs: ExperimentConfigs) -> None:
    """Whether as many processes were started as the trainer will wait for."""
    settings, me = configs.trainer, started()
    if me.by in ("torchrun", "srun") and me.world_size != settings.world_size:
        problem = f"× trainer.nodes = {settings.world_size} processes, but {me.by} started {me.world_size}"
        raise ConfigError(problem, "trainer.devices")
    if settings.nodes > 1 and me.by not in ("torchrun", "srun"):
        raise ConfigError(
            f"= {settings.nodes} needs torchrun or srun, which start this script on each", "trainer.nodes"
        )
    if me.by == "srun" and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise ConfigError("needs srun to be told --ntasks-per-node, with the same number", "trainer.devices")


def _check_precision(configs: ExperimentConfigs) -> None:
    """Whether this machine can multiply what the recipe asks for, and the strategy shard its masters."""
    try:
        backend_of(configs.precision, device_of(configs.trainer.accelerator).type)
    except ConfigError as error:
        raise error.at("precision") from None
    narrow = isinstance(configs.precision, Float8) and configs.precision.master_weights == "bf16"
    if narrow and configs.trainer.strategy == "fsdp":
        raise ConfigError("= bf16 mixes dtypes, which fsdp does not shard; use trainer=ddp", "precision.master_weights")


def _check_profile(configs: ExperimentConfigs) -> None:
    """Whether the run is long enough for a step after the warm-up."""
    profile, max_steps = configs.profile, configs.trainer.max_steps
    if profile.steps and profile.warmup >= max_steps:
        raise ConfigError(f"= {profile.warmup} leaves none of trainer.max_steps = {max_steps}", "profile.warmup")


def _check_batch(configs: ExperimentConfigs) -> None:
    """Whether a step can be cut into the ranks' micro-batches."""
    data, ranks = configs.data, configs.trainer.world_size
    size = data.micro_batch_size or 1
    for name in ("batch_size", "batch_size_start"):
        value = getattr(data, name)
        if value is not None and value % (size * ranks):
            problem = f"= {value} is no multiple of {size * ranks}: {ranks} processes × micro-batches of {size}"
            raise ConfigError(problem, f"data.{name}")


_CHOICES = {
    "text": "python_stdlib",
    "instructions": "instructions_embedded",
    "preferences": "preferences_embedded",
    "questions": "prompts",
}
"""For each kind of data a choice that needs nothing."""


def _check_data(configs: ExperimentConfigs) -> None:
    """Whether the stage can read the data."""
    wanted, given = configs.stage.data_kind, configs.data.kind
    if wanted != given:
        problem = f"holds {given}, and stage={configs.stage.name} trains on {wanted}; data={_CHOICES[wanted]} would do"
        raise ConfigError(problem, "data")
    if wanted == "questions" and configs.trainer.strategy == "fsdp":
        raise ConfigError("= fsdp cannot generate: answers end at different times on each rank", "trainer.strategy")


def _check_match(configs: ExperimentConfigs) -> None:
    """Whether the job got the size that it shall be matched to."""
    if configs.match.rule != "none" and configs.match.target is None:
        raise ConfigError("is unknown: hydra/sweeper=matching finds it from the baseline; or type it", "match.target")
