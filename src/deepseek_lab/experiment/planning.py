"""`scripts/plan.py`: what the jobs of a command line would take, without starting one.

The network is built of fake tensors, so that one of 671B parameters is answered in seconds on any machine. A job
that cannot run on any machine is a row with its reason; whether this one has the devices plays no role.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from omegaconf import DictConfig
from rich.console import Console

from deepseek_lab.command_line.jobs import Job, RefusedJob, check_values, task_config
from deepseek_lab.config import CheckedConfig, ConfigError, DataError
from deepseek_lab.experiment.checking import check_parts
from deepseek_lab.experiment.configs import ExperimentConfigs, read_configs, read_match
from deepseek_lab.experiment.plan_table import Row, render
from deepseek_lab.model.recompute import recompute
from deepseek_lab.planning.counts import Counts, count
from deepseek_lab.planning.kept import fake_tensors, make_fake
from deepseek_lab.planning.memory import Memory, MicroBatch, memory
from deepseek_lab.planning.plan import Machine, Plan
from deepseek_lab.precision.applying import apply
from deepseek_lab.precision.selection import HOPPER, peak_format, surroundings
from deepseek_lab.sweep.matching import facts


@dataclass(frozen=True, kw_only=True)
class PlanSettings(CheckedConfig):
    """The knobs of plan.yaml itself."""

    format: Literal["table", "json"]
    cache_dtype: Literal["bf16", "fp16", "fp32", "fp8"]
    mfu: float

    def check(self) -> None:
        if not 0 < self.mfu <= 1:
            raise ConfigError(f"must be above 0 and at most 1, not {self.mfu}", "mfu")


def plan(jobs: Sequence[Job | RefusedJob]) -> int:
    """Prints the plan of every job; returns 0, or 2 when all of several are refused.

    Raises ConfigError or DataError when the only job is refused.
    """
    formats = {read_settings(job.config).format for job in jobs if isinstance(job, Job)}
    rows = [_row(job, alone=len(jobs) == 1) for job in jobs]
    if formats == {"json"}:
        for row in rows:
            print(json.dumps(row.as_data()))
    else:
        Console(highlight=False, markup=False, emoji=False).print(render(rows))
    return 0 if any(row.plan for row in rows) else 2


def read_settings(cfg: DictConfig) -> PlanSettings:
    """The knobs of plan.yaml. Raises ConfigError."""
    return PlanSettings(format=cfg.format, cache_dtype=cfg.cache_dtype, mfu=cfg.mfu)


def _row(job: Job | RefusedJob, alone: bool) -> Row:
    name = job.words or " ".join(job.overrides) or "default"
    try:
        if isinstance(job, RefusedJob):
            raise job.reason
        planned = plan_job(job.config, read_settings(job.config))
    except (ConfigError, DataError) as error:
        if alone:
            raise
        return Row(name, job.overrides, None, str(error))
    return Row(name, job.overrides, planned, match=facts(job.config, read_match(job.config), planned.counts))


def plan_job(config: DictConfig, settings: PlanSettings) -> Plan:
    """The plan of one composed config. Raises ConfigError for a job that can run on no machine."""
    check_values(config)
    configs = read_configs(task_config(config), _planned_for(config))
    check_parts(configs)
    data, trainer = configs.data, configs.trainer
    size = data.micro_batch_size or data.batch_size // trainer.world_size
    batch = MicroBatch(
        size=size,
        seq_len=data.seq_len,
        narrow=surroundings(configs.precision, _device_type(configs)) == "bf16",
        device_type=_device_type(configs),
        isolate_documents=data.isolate_documents,
        repeated=data.batch_size > size * trainer.world_size,
    )
    shards = trainer.world_size if trainer.strategy == "fsdp" else 1
    counts, needed = _sizes(configs, batch, shards)
    return Plan(
        counts=counts,
        cache_dtype=settings.cache_dtype,
        precision=configs.precision.name,
        seq_len=data.seq_len,
        micro_batch_size=size,
        batch_size=data.batch_size,
        steps=trainer.max_steps,
        tokens=data.tokens_in(trainer.max_steps),
        memory=needed,
        machine=_machine(configs, settings.mfu),
    )


def _sizes(configs: ExperimentConfigs, batch: MicroBatch, shards: int) -> tuple[Counts, Memory]:
    """Counts and memory of the network as a run builds it; jobs that differ in their seed share them."""
    parts = (configs.model, configs.precision, configs.balance, batch, shards, configs.trainer.recompute)
    key = (repr((*parts, configs.optimizer)), _capability(configs))
    if key not in _KNOWN:
        _KNOWN[key] = _measured(configs, batch, shards)
    return _KNOWN[key]


_KNOWN: dict[Any, tuple[Counts, Memory]] = {}
"""What was measured, by the text of the configs: they hold lists, which `functools.cache` takes for no key."""


def _measured(configs: ExperimentConfigs, batch: MicroBatch, shards: int) -> tuple[Counts, Memory]:
    with torch.device("meta"):
        built = configs.model.build().train()
        apply(built, configs.precision, batch.device_type, _capability(configs))
        recompute(built, configs.trainer.recompute)
    counts = count(built, batch.seq_len)
    with fake_tensors():
        make_fake(built)
        return counts, memory(built, configs.balance, batch, shards, configs.optimizer.state_bytes(built))


def _capability(configs: ExperimentConfigs) -> tuple[int, int]:
    """Of the card that is planned for; one that is not named counts as Hopper."""
    return (8, 0) if configs.hardware.name == "a100" else HOPPER


def _planned_for(cfg: DictConfig) -> str:
    return _kind_of_device(str(cfg.hardware.name), str(cfg.trainer.accelerator))


def _device_type(configs: ExperimentConfigs) -> str:
    return _kind_of_device(configs.hardware.name, configs.trainer.accelerator)


def _kind_of_device(hardware: str, asked: str) -> str:
    """What the run would compute on: a named card wins over the trainer, since a plan may be for another machine."""
    named = hardware not in ("auto", "cpu")
    on_gpu = named or asked == "gpu" or (asked == "auto" and torch.cuda.is_available())
    return "cuda" if on_gpu else "cpu"


def _machine(configs: ExperimentConfigs, mfu: float) -> Machine:
    hardware, device_type = configs.hardware, _device_type(configs)
    stated = hardware.peak_flops is not None or hardware.peak_flops_fp32 is not None
    here: Any = stated or device_type == "cpu" or torch.cuda.is_available()
    return Machine(
        hardware=hardware.name,
        devices=configs.trainer.world_size,
        peak_flops=hardware.peak(device_type, peak_format(configs.precision, device_type, _capability(configs)))
        if here
        else None,
        memory_bytes=hardware.memory_bytes,
        price_per_hour=hardware.price_per_hour,
        mfu=mfu,
    )
