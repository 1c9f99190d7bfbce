"""Several processes as the Trainer wants them: who starts them, how they share the model, how they wait.

Left out: what the strategies do (trainer_plugins/) and how ranks agree on a folder (command_line/ranks).
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import torch.distributed
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import Strategy

from deepseek_lab.advice import resume_command
from deepseek_lab.command_line.lifeline import in_a_sweep
from deepseek_lab.command_line.ranks import started
from deepseek_lab.experiment.trainer_settings import TrainerSettings
from deepseek_lab.stages.errors import LostRank
from deepseek_lab.trainer_plugins.replicated import ReplicatedStrategy
from deepseek_lab.trainer_plugins.sharded import ShardedStrategy


def cluster_environment() -> ClusterEnvironment:
    """Lightning's view of the starter; named outright, or a shell inside a SLURM job would pass for srun."""
    if started().by == "srun":
        return SLURMEnvironment(auto_requeue=False)  # command_line/slurm does it, in the run's own folder
    return TorchElasticEnvironment() if started().by == "torchrun" else LightningEnvironment()


def strategy(settings: TrainerSettings, modules_rest: bool) -> Strategy | str:
    """How the ranks share the model; `modules_rest`: whether some of it may take no part in a step."""
    if settings.strategy == "fsdp":
        return ShardedStrategy(settings.world_size)
    return ReplicatedStrategy(find_unused_parameters=modules_rest) if settings.world_size > 1 else "auto"


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Of ranks, or jobs of a sweep, that start together one enters at a time: the first makes what the others find.

    Without locks on the file system all enter at once, which costs work but harms nothing.
    """
    if not (started().together or in_a_sweep()):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def lost_ranks_named(run_folder: Path) -> Iterator[None]:
    """Turns the many errors of a broken connection into one line that says how to go on."""
    try:
        yield
    except RuntimeError as error:
        if not _is_lost_rank(error):
            raise
        raise LostRank(
            f"another rank of this run is gone or cannot be reached; the last checkpoint is kept, to go on: "
            f"{resume_command(run_folder)}"
        ) from error


def _is_lost_rank(error: RuntimeError) -> bool:
    """torch's own class for NCCL and the store; gloo raises plain RuntimeErrors that name its source files."""
    return isinstance(error, torch.distributed.DistError) or "gloo/transport" in str(error)
