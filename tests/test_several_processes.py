"""`scripts/train.py` on two ranks, whoever starts them: one folder, one corpus, and no end but a clear one."""

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from deepseek_lab.command_line import PROJECT_ROOT

STEPS = 40
TEXT = Path(sysconfig.get_paths()["stdlib"]) / "email"
STARTERS = ("lightning", "torchrun", "srun")


def overrides(logs, *more):
    """A small DeepSeek-V3 on a little text, everything under `logs`."""
    return [
        *("ffn=moe", "attention=mla", "mtp=depth1", "tokenizer=bytes", f"data.corpus.folder={TEXT}"),
        *("data.batch_size=4", "data.micro_batch_size=2", "data.seq_len=64", "trainer.accelerator=cpu"),
        *(f"trainer.max_steps={STEPS}", "trainer.validate_every=10", "trainer.validation_batches=1"),
        *("trainer.log_every=1", "trainer.checkpoint_every=5", "trainer.n_threads=1"),
        *(f"paths.logs={logs}", f"paths.cache={logs.parent}/cache", *more),
    ]


def commands(starter, *arguments):
    """The processes of one start, each as its words and its environment."""
    script = [sys.executable, "scripts/train.py", *arguments]
    if starter == "lightning":
        return [(script, {})]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    if starter == "torchrun":
        run = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
        return [([sys.executable, *run, *script[1:]], {})]
    job = {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost",
        "MASTER_PORT": port,
    }  # fmt: skip
    return [(script, {**job, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}) for rank in range(2)]


def begin(starter, *arguments):
    """Started processes with their words on a pipe."""
    return [
        subprocess.Popen(
            words,
            cwd=PROJECT_ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for words, more in commands(starter, *arguments)
    ]


def train(starter, *arguments):
    """Exit codes and all words of a start that runs to its end."""
    started = begin(starter, *arguments)
    words = [process.communicate(timeout=300)[0] for process in started]
    return [process.returncode for process in started], "\n".join(words)


def curves(run):
    """The rows of a run without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("perf/")} for line in lines]


def assert_same(ours, theirs):
    assert len(curves(ours)) == len(curves(theirs)) == STEPS
    for mine, yours in zip(curves(ours), curves(theirs), strict=True):
        assert mine == pytest.approx(yours, rel=1e-5)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with the uninterrupted run of one process in `one`; every other run uses its token files."""
    folder = tmp_path_factory.mktemp("several")
    codes, words = train("lightning", "trainer=cpu", *overrides(folder / "logs"), f"hydra.run.dir={folder}/one")
    assert codes == [0], words
    return folder


def kill_one(process, victim):
    """kill -9 to rank 0 or to the rank that it started; the survivor's pid."""
    child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    os.kill({"rank 0": process.pid, "rank 1": child}[victim], signal.SIGKILL)
    return {"rank 0": child, "rank 1": process.pid}[victim]


def has_ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "victim", "after"),
    [("ddp", "rank 1", "fsdp"), ("ddp", "rank 0", "cpu"), ("fsdp", "rank 1", "cpu"), ("fsdp", "rank 0", "ddp")],
)
def test_when_one_rank_is_killed_the_other_ends_and_the_run_goes_on(root, tmp_path, trainer, victim, after):
    run = tmp_path / "run"
    # Hydra keeps what was typed; validation and checkpoints as in `one`, so that rows can be compared.
    (process,) = begin("lightning", f"trainer={trainer}", *overrides(root / "logs"), f"hydra.run.dir={run}")
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/step_*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    survivor = kill_one(process, victim)
    killed = time.monotonic()
    while not has_ended(survivor) and time.monotonic() < killed + 60:
        process.poll()
        time.sleep(0.1)
    assert time.monotonic() - killed < 30
    words = process.communicate(timeout=60)[0]
    (line,) = [line for line in words.splitlines() if line.startswith("error:")]
    assert "another rank of this run is gone" in line
    assert line.endswith(f"python scripts/train.py resume={run}")
    assert not (run / "DONE").exists()
    codes, words = train("lightning", f"resume={run}", f"trainer={after}", *overrides(root / "logs"))
    assert codes == [0], words
    assert (run / "DONE").exists()
    assert_same(run, root / "one")


@pytest.mark.slow
@pytest.mark.parametrize("starter", STARTERS)
def test_every_starter_makes_one_folder_and_one_corpus_and_resumes(root, tmp_path, starter):
    logs, fresh = tmp_path / "logs", f"paths.cache={tmp_path}/cache"
    codes, words = train(starter, "trainer=ddp", *overrides(logs), fresh)
    assert set(codes) == {0}, words
    assert words.count("encoding the corpus") == 1
    (run,) = (logs / "pretrain" / "runs").iterdir()
    assert_same(run, root / "one")
    typed = (run / ".hydra" / "overrides.yaml").read_text()
    assert "trainer=ddp" in typed
    assert "output_subdir" not in typed

    (run / "DONE").unlink()
    sorted(run.glob("checkpoints/*.ckpt"))[-1].unlink()
    codes, words = train(starter, "resume=auto", f"paths.logs={logs}", "trainer=fsdp", "trainer.accelerator=cpu")
    assert set(codes) == {0}, words
    assert [path.name for path in (logs / "pretrain" / "runs").iterdir()] == [run.name]
    assert (run / "DONE").exists()
    assert_same(run, root / "one")


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["torchrun", "srun"])
def test_a_wrong_command_is_answered_once(tmp_path, starter):
    codes, words = train(starter, "trainer=ddp", "trainer.devices=1", f"paths.logs={tmp_path}")
    assert max(codes) == (1 if starter == "torchrun" else 2)
    lines = [line for line in words.splitlines() if line.startswith("error:")]
    assert lines == [f"error: trainer.devices × trainer.nodes = 1 processes, but {starter} started 2"]
    assert not (tmp_path / "pretrain").exists()


@pytest.mark.slow
def test_ctrl_c_stops_both_ranks_at_the_same_step(root, tmp_path):
    run = tmp_path / "run"
    (process,) = begin("lightning", "trainer=fsdp", *overrides(root / "logs"), f"hydra.run.dir={run}")
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/step_*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    for pid in (process.pid, child):  # as a terminal does
        os.kill(pid, signal.SIGINT)
    words = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    (line,) = [line for line in words.splitlines() if line.startswith("error:")]
    assert "nothing is lost" in line
    assert words.count("stopping after this step") == 1
    codes, words = train("lightning", f"resume={run}", "trainer=cpu", *overrides(root / "logs"))
    assert codes == [0], words
    assert_same(run, root / "one")
