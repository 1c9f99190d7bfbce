"""From a composed Hydra config to checked, frozen Configs, with errors that name what was typed.

Every leaf of a choice group is instantiated on its own (`leaf`); its interpolations into the shape sheet
(`${model.kv_lora_rank}`) resolve on the way.

Left out: building anything. Nothing here reads data or makes a tensor.
"""

from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig

from deepseek_lab.command_line.unread import SHEET_READS as SHEET_READS
from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.initial import network_of, shared_tokenizer, tokenizer_of
from deepseek_lab.experiment.leaf import leaf, named_as_typed
from deepseek_lab.experiment.sheet import read_profile, read_seed, read_sheet, read_trainer
from deepseek_lab.experiment.trainer_settings import ProfileSettings, TrainerSettings
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.planning.matching import UNMATCHED, Match
from deepseek_lab.precision.selection import settled
from deepseek_lab.tasks.task import Task

PARTS = ("attention", "ffn", "mtp")
"""The leaves that the network is made of."""
LEAVES = (
    *("balance", "precision", "tokenizer", "data"),
    *("optimizer", "schedule", "hardware", "stage"),
)


@dataclass(frozen=True)
class ExperimentConfigs:
    """Everything a run is made of, checked."""

    model: Transformer.Config
    balance: Any
    precision: Any
    tokenizer: Any
    data: Any
    optimizer: Any
    schedule: Any
    hardware: Any
    stage: Any
    match: Match.Config
    trainer: TrainerSettings
    profile: ProfileSettings
    seed: int


def read_configs(cfg: DictConfig, device_type: str | None = None) -> ExperimentConfigs:
    """All Configs of a composed config. Raises ConfigError with the path of the offending key.

    device_type: what `precision=auto` is settled for; None is the device that the trainer takes here
    """
    typed = _typed_model(cfg)
    leaves = {name: leaf(cfg, name) for name in LEAVES}
    leaves["precision"] = settled(leaves["precision"], device_type or _device_type(cfg))
    if starts := [run for run in (cfg.init_from, getattr(leaves["stage"], "teacher", None)) if run]:
        # Its ids must mean what they meant to the weights. A run that goes on has the tokenizer in its own folder.
        leaves["tokenizer"] = tokenizer_of(cfg.resume) if cfg.resume else shared_tokenizer(starts)
    model = network_of(cfg.init_from, cfg.resume) or typed
    return ExperimentConfigs(
        model=model,
        **leaves,
        match=read_match(cfg),
        trainer=read_trainer(cfg),
        profile=read_profile(cfg),
        seed=read_seed(cfg),
    )


def _device_type(cfg: DictConfig) -> str:
    """Of the trainer's accelerator; one that is not here is refused by the check of the devices, not here."""
    on_gpu = cfg.trainer.accelerator == "gpu" or (cfg.trainer.accelerator == "auto" and torch.cuda.is_available())
    return "cuda" if on_gpu else "cpu"


def read_model(cfg: DictConfig) -> Transformer.Config:
    """The network alone. Raises ConfigError with the path of the offending key, DataError for a bad start."""
    typed = _typed_model(cfg)
    return network_of(cfg.get("init_from"), cfg.get("resume")) or typed


def _typed_model(cfg: DictConfig) -> Transformer.Config:
    """The network that the sheet and the parts describe."""
    sheet = read_sheet(cfg)
    own = {name: getattr(sheet, name) for name in SHEET_READS}
    model = Transformer.Config(**own, **{name: leaf(cfg, name) for name in PARTS})
    _check_attention(cfg, model)
    return model


def read_match(cfg: DictConfig) -> Match.Config:
    """The rule that makes the jobs of a sweep fair; none in the config of an older run. Raises ConfigError."""
    rule: Match.Config = leaf(cfg, "match") if "match" in cfg else UNMATCHED
    return rule


def task_of(cfg: DictConfig) -> Task:
    """The chosen task. Raises ConfigError with the path of the offending key."""
    try:
        task: Task = leaf(cfg, "task").build()
    except ConfigError as error:
        raise error if error.field.startswith("task") else error.at("task") from None
    return task


def _check_attention(cfg: DictConfig, model: Transformer.Config) -> None:
    """Rules between a leaf and the width that only `build` would meet."""
    try:
        model.attention.rope_dim_at(model.dim)
    except ConfigError as error:
        raise named_as_typed(cfg, "attention", error) from None
