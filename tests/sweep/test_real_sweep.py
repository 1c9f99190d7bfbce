"""Sweeps of real training runs through the launcher: ranks over gloo, a kill in the middle, SLURM's stand-in."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from deepseek_lab.checkpoint.located import checkpoint_name
from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import expand
from deepseek_lab.command_line.naming import sweep_folder

pytestmark = pytest.mark.slow
TEXT = Path(sysconfig.get_paths()["stdlib"]) / "email"


def command(root, *words):
    """A sweep `s` of tiny runs with everything under `root`."""
    tiny = (
        *("tokenizer=bytes", f"data.corpus.folder={TEXT}", "data.seq_len=32", "data.batch_size=4"),
        *(
            "trainer.validation_batches=1",
            "trainer.log_every=1",
            f"paths.logs={root}/logs",
            f"paths.cache={root}/cache",
        ),
    )
    return [sys.executable, "scripts/train.py", "-m", *words, "sweep=s", *tiny]


def sweep(root, *words):
    """It runs to its end -> exit code and all that was said."""
    done = subprocess.run(command(root, *words), cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def runs(root):
    """The run folders by their seed."""
    folders = (root / "logs" / "pretrain" / "multiruns" / "s").glob("*seed-*")
    return {int(path.name.split("seed-")[1].split("_")[0].split("-")[0]): path for path in folders}


def steps(run):
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def processes_of(root):
    """Processes whose command line names `root` and that are no zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line, stat = (folder / "cmdline").read_bytes(), (folder / "stat").read_text()
        except OSError:
            continue
        if str(root).encode() in line and stat.rpartition(")")[2].split()[0] != "Z":
            found.append(int(folder.name))
    return found


def test_a_job_on_two_devices_trains_once_and_leaves_nobody(tmp_path):
    words = ("seed=1", "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_steps=2", "trainer.validate_every=2")
    code, said = sweep(tmp_path, *words)
    assert code == 0, said
    (run,) = runs(tmp_path).values()
    assert steps(run) == [1, 2]
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["steps"], summary["tokens"]) == (2, 2 * 4 * 32), "each of two ranks did half of every batch"
    assert (run / "DONE").exists()
    assert len(list((tmp_path / "logs" / "pretrain" / "multiruns").iterdir())) == 1, "no rank started a sweep"
    assert processes_of(tmp_path) == []


def folder_of(root, words, last):
    """The folder that the job of a sweep will get whose overrides end in `last`, before anything is started."""
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        jobs = expand(composer, command(root, *words)[3:], sweep=True)
        return next(sweep_folder(job.config) for job in jobs if set(last) <= set(job.overrides))


def untouched(run):
    return {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*")) if path.is_file()}


def test_a_killed_sweep_of_eight_goes_on_where_it_was(tmp_path):
    """The last job fails by design: what lies in its folder is no checkpoint. The killed one has two ranks."""
    words = ("trainer=cpu,ddp", "trainer.accelerator=cpu", "seed=1,2,3,4", "trainer.max_steps=40")
    words += ("trainer.checkpoint_every=2", "trainer.validate_every=20")
    bad = folder_of(tmp_path, words, ("trainer=ddp", "seed=4"))
    (bad / "checkpoints").mkdir(parents=True)
    (bad / "checkpoints" / checkpoint_name(2)).write_bytes(b"nothing")

    first = subprocess.Popen(
        command(tmp_path, *words), cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    half = wait_for(lambda: half_done(bad.parent, bad))
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    wait_for(lambda: not processes_of(tmp_path), 10)
    assert not (half / "DONE").exists()
    before = {run: untouched(run) for run in bad.parent.glob("*-*") if (run / "DONE").exists()}
    n_steps = len(steps(half))
    assert len(before) >= 2

    code, said = sweep(tmp_path, *words)
    assert code == 1, said
    assert said.splitlines()[-1] == f"error: 1 of 8 jobs failed: {bad.name}"
    assert checkpoint_name(2) in said, "the end of its log names the file"
    done = {run for run in bad.parent.glob("*-*") if (run / "DONE").exists()}
    assert len(done) == 7
    report = (bad.parent / "report.md").read_text()
    assert (bad.parent / "report.html").exists()
    assert bad.name in report
    assert all(name in report for name in ("trainer=cpu", "trainer=ddp"))
    assert {run: untouched(run) for run in before} == before, "finished jobs are not touched"
    assert all(steps(run) == list(range(1, 41)) for run in done)
    provenance = json.loads((half / "provenance.json").read_text())
    assert 0 < provenance["resumed"][0]["step"] <= n_steps < 40, "it went on from its last checkpoint"
    assert processes_of(tmp_path) == []


def half_done(folder, bad):
    """A run on two ranks that has a checkpoint and is not done; None before."""
    for run in folder.glob("trainer-ddp*"):
        if run != bad and list(run.glob("checkpoints/*.ckpt")) and not (run / "DONE").exists():
            return run
    return None


def wait_for(look, seconds=200):
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def test_slurm_jobs_run_through_its_local_stand_in(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    code, said = sweep(tmp_path, "hydra/launcher=slurm_local", "seed=1,2", "trainer.max_steps=2")
    assert code == 0, said
    assert [steps(run) for run in runs(tmp_path).values()] == [[1, 2], [1, 2]]
    assert all((run / "DONE").exists() for run in runs(tmp_path).values())


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM], ids=lambda number: number.name)
def test_a_job_that_submitit_requeues_goes_on_in_its_folder_and_one_that_it_keeps_is_not_stopped(tmp_path, number):
    """submitit requeues at SIGUSR2 and bypasses SIGTERM; either way the state is saved first."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words = ("hydra/launcher=slurm_local", "seed=1", "trainer.max_steps=60", "trainer.checkpoint_every=1000")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = subprocess.Popen(command(tmp_path, *words), cwd=PROJECT_ROOT, **pipes)
    deadline = time.monotonic() + 120
    while not (found := [run for run in runs(tmp_path).values() if (run / "metrics.jsonl").exists()]):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    (run,) = found
    first = (run / ".lock").read_text()
    os.kill(int(first.split()[1]), number)
    said, _ = started.communicate(timeout=240)
    assert started.returncode == 0, said
    assert (run / "DONE").exists()
    assert steps(run) == list(range(1, 61))
    again = (run / ".lock").read_text() != first
    assert again == (number == signal.SIGUSR2), "another process went on, or the same"
    assert list(runs(tmp_path).values()) == [run]
