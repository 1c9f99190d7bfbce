"""What several processes need around a run: a starter, a strategy, a lock, one line when a rank is lost."""

import threading
import time

import pytest
import torch

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.config import ConfigError
from deepseek_lab.experiment import check
from deepseek_lab.experiment.configs import read_configs
from deepseek_lab.experiment.parallel import cluster_environment, lost_ranks_named, one_at_a_time, strategy
from deepseek_lab.stages.errors import LostRank
from deepseek_lab.trainer_plugins.replicated import ReplicatedStrategy
from deepseek_lab.trainer_plugins.sharded import ShardedStrategy

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
SRUN = {
    "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2",
}  # fmt: skip


@pytest.fixture(scope="module")
def composed():
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        yield lambda *overrides: task_config(composer.compose([*overrides, "trainer.accelerator=cpu"]))


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)


@pytest.mark.parametrize(
    ("overrides", "environment", "line"),
    [
        (["trainer.devices=3"], {}, "trainer.devices = 3 is more than the 2 processor cores here"),
        (["trainer.strategy=dpd"], {}, "trainer.strategy must be one of auto, ddp, fsdp, not 'dpd'"),
        (["trainer.recompute=v2"], {}, "trainer.recompute must be one of none, v3, block, not 'v2'"),
        (["trainer.devices=0"], {}, "trainer.devices must be at least 1, not 0"),
        (["data.batch_size=7"], {}, "data.batch_size = 7 is no multiple of 2: 2 processes × micro-batches of 1"),
        (
            ["data.batch_size=6", "data.micro_batch_size=2"],
            {},
            "data.batch_size = 6 is no multiple of 4: 2 processes × micro-batches of 2",
        ),
        (
            ["trainer.devices=1"],
            TORCHRUN,
            "trainer.devices × trainer.nodes = 1 processes, but torchrun started 2",
        ),
        (["trainer.nodes=2"], {}, "trainer.nodes = 2 needs torchrun or srun, which start this script on each"),
        ([], SRUN, "trainer.devices needs srun to be told --ntasks-per-node, with the same number"),
    ],
)
def test_what_cannot_start_is_refused_in_one_line(composed, monkeypatch, overrides, environment, line):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refusal:
        check(composed("trainer=ddp", *overrides))
    assert str(refusal.value) == line


def test_what_can_start_is_not_refused(composed, monkeypatch):
    for name in ("ddp", "fsdp"):
        check(composed(f"trainer={name}"))
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    check(composed("trainer=fsdp"))
    check(composed("trainer=ddp", "trainer.devices=1", "trainer.nodes=2"))


def test_the_strategy_is_the_one_that_was_chosen(composed):
    def chosen(*overrides):
        return strategy(read_configs(composed(*overrides)).trainer, modules_rest=False)

    assert isinstance(chosen("trainer=ddp"), ReplicatedStrategy)
    assert isinstance(chosen("trainer=fsdp"), ShardedStrategy)
    assert isinstance(chosen("trainer.devices=2"), ReplicatedStrategy)
    assert chosen("trainer=cpu") == chosen("trainer=ddp", "trainer.devices=1") == "auto"


def test_a_shell_inside_a_slurm_job_is_not_taken_for_srun(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert type(cluster_environment()).__name__ == "LightningEnvironment"
    for name, value in {**SRUN, "SLURM_NTASKS_PER_NODE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert type(cluster_environment()).__name__ == "SLURMEnvironment"


def test_ranks_that_start_together_enter_one_at_a_time(tmp_path, monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    inside, most = [], []

    def enter():
        with one_at_a_time(tmp_path / "cache"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.1)
            inside.pop()

    ranks = [threading.Thread(target=enter) for _ in range(3)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert most == [1, 1, 1]


def test_a_broken_connection_is_one_line_and_other_errors_stay(tmp_path):
    gloo = "[/src/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:5"
    for error in (RuntimeError(gloo), torch.distributed.DistBackendError("NCCL error")):
        with pytest.raises(LostRank, match="another rank of this run is gone") as lost, lost_ranks_named(tmp_path):
            raise error
        assert str(lost.value).endswith(f"python scripts/train.py resume={tmp_path}")
    with pytest.raises(RuntimeError, match="sizes"), lost_ranks_named(tmp_path):
        raise RuntimeError("sizes do not match")
