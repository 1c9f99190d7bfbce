"""Sweeps of a toy project through the real launcher: killed, interrupted, failing, resumed, side by side."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toy_project import write_conf

SCRIPT = Path(__file__).parents[1] / "toy_project.py"


class Toy:
    """One toy project: starts sweeps of it and looks at what they leave."""

    def __init__(self, folder):
        self.conf = write_conf(folder / "conf")
        self.sweep = folder / "logs" / "toy" / "multiruns" / "s"

    def start(self, *words):
        """A sweep that runs, its words on pipes."""
        command = [sys.executable, str(SCRIPT), "--config-path", str(self.conf), "-m", "sweep=s", *words]
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=environment, process_group=0, preexec_fn=heed_ctrl_c, **pipes)

    def __call__(self, *words):
        """A sweep that has ended -> exit code and what it said."""
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        return process.returncode, out + err

    def runs(self):
        """The run folders by their seed."""
        return {int(path.name.split("seed-")[1].split("-")[0].split("_")[0]): path for path in self.sweep.glob("*-*")}

    def done(self):
        return [path for path in self.runs().values() if (path / "DONE").exists()]

    def notes(self, run, what=None):
        path = run / "notes.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if what in (None, line["what"])]

    def steps(self, run):
        return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def heed_ctrl_c():
    """What is started in the background of a shell script is told to ignore it, and so are its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def toy(tmp_path):
    return Toy(tmp_path)


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def alive(pids):
    """Those of `pids` that run; a zombie does not."""

    def runs(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return [pid for pid in pids if runs(pid)]


def untouched(run):
    """Times of all files of a run."""
    return {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*")) if path.is_file()}


def test_a_sweep_killed_halfway_leaves_nobody_and_the_same_command_finishes_it(toy):
    words = (
        "seed=1,2,3,4,5,6,7,8",
        "trainer.fail_seeds=[2]",
        "trainer.slow_seeds=[5]",
        "hydra.launcher.jobs_at_once=3",
    )
    first = toy.start(*words)
    wait_until(lambda: len(toy.done()) >= 2 and 5 in toy.runs() and (toy.runs()[5] / "metrics.jsonl").exists())
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    pids = [note["pid"] for run in toy.runs().values() for note in toy.notes(run, "begins")]
    wait_until(lambda: not alive(pids), 10)
    before = {run: untouched(run) for run in toy.done()}
    half = toy.runs()[5]
    n_steps = len(toy.steps(half))
    assert not (half / "DONE").exists()

    code, said = toy(*words)
    assert code == 1
    assert "seed 2: is bad by design" in said, "the end of the log is shown"
    failed = toy.runs()[2].name
    assert said.splitlines()[-1] == f"error: 1 of 8 jobs failed: {failed}"
    assert {seed for seed, run in toy.runs().items() if (run / "DONE").exists()} == {1, 3, 4, 5, 6, 7, 8}
    assert {run: untouched(run) for run in before} == before
    assert 1 <= n_steps < 5
    assert toy.steps(half) == [1, 2, 3, 4, 5], "it went on from its checkpoint"
    assert len((half / "log.txt").read_text().split("\n--- ")) == 2


def test_ranks_of_a_job_die_with_the_sweep_and_never_start_it_again(toy):
    sweep = toy.start("seed=1", "trainer.devices=2", "trainer.pause=20")
    wait_until(lambda: 1 in toy.runs() and toy.notes(toy.runs()[1], "rank 1"))
    run = toy.runs()[1]
    assert [note["what"] for note in toy.notes(run)] == ["begins", "rank 1"]
    pids = [note["pid"] for note in toy.notes(run)]
    assert alive(pids) == pids
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.communicate()
    wait_until(lambda: not alive(pids), 10)
    assert "stopped: the process that started this one is gone" in (run / "log.txt").read_text()


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_polite_stop_lets_the_jobs_save_and_the_same_command_goes_on(toy, how):
    words = ("seed=1,2,3,4", "trainer.pause=0.3", "hydra.launcher.jobs_at_once=2")
    sweep = toy.start(*words)
    wait_until(lambda: sum((run / "metrics.jsonl").exists() for run in toy.runs().values()) == 2)
    os.killpg(sweep.pid, how)  # as a terminal does: the sweep's own group, which its jobs are not in
    said = "".join(sweep.communicate(timeout=30))
    assert sweep.returncode == 130
    assert "stopped: 0 of 4 jobs are finished; the same command goes on" in said
    assert sorted(toy.runs()) == [1, 2], "no further job has started"
    assert all("stopped after step" in (run / "log.txt").read_text() for run in toy.runs().values())
    assert not alive([note["pid"] for run in toy.runs().values() for note in toy.notes(run)])
    assert toy(*words)[0] == 0
    assert all(toy.steps(run) == [1, 2, 3, 4, 5] for run in toy.runs().values())


def test_as_many_jobs_as_asked_run_at_once_and_share_the_threads(toy):
    cores = len(os.sched_getaffinity(0))
    assert toy("ablation=seeds", "trainer.pause=0.2", "hydra.launcher.jobs_at_once=2")[0] == 0
    spans = [[toy.notes(run, what)[0]["at"] for what in ("begins", "ends")] for run in toy.runs().values()]
    together = [sum(begin <= moment < end for begin, end in spans) for moment, _ in spans]
    assert max(together) == 2
    given = {note["OMP_NUM_THREADS"] for run in toy.runs().values() for note in toy.notes(run)}
    assert given == {str(max(1, cores // 2))}


def test_a_mistyped_value_of_the_last_job_is_refused_before_the_first_starts(toy):
    code, said = toy("seed=1,2,3,abc")
    assert (code, said) == (2, "error: job 4 of 4 (seed=abc): seed must be a number, not 'abc'\n")
    code, said = toy("seed=1,2", "hydra.launcher.jobs_at_once=two")
    assert code == 2
    assert said.endswith("hydra.launcher.jobs_at_once must be a whole number of at least 1, or null, not 'two'\n")
    assert not toy.sweep.exists()


def test_a_run_has_one_writer(toy):
    first = toy.start("seed=1", "trainer.pause=20")
    wait_until(lambda: 1 in toy.runs() and toy.notes(toy.runs()[1], "begins"))
    run = toy.runs()[1]
    code, said = toy("seed=1", "trainer.pause=20")
    assert code == 2
    assert "another process writes this run" in said
    alone = [sys.executable, str(SCRIPT), "--config-path", str(toy.conf), f"hydra.run.dir={run}", "seed=9"]
    again = subprocess.run(alone, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert len(again.stderr.splitlines()) == 1
    assert f"{run} is being written by another process (pid " in again.stderr
    assert "seed=9" not in (run / ".hydra" / "overrides.yaml").read_text()
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()


def test_of_two_terminals_that_start_at_once_on_one_folder_one_writes(toy, tmp_path):
    words = [sys.executable, str(SCRIPT), "--config-path", str(toy.conf), f"hydra.run.dir={tmp_path / 'run'}", "seed=1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    together = [subprocess.Popen([*words, "trainer.pause=0.4"], **pipes) for _ in range(3)]
    said = [process.communicate(timeout=60)[1] for process in together]
    codes = [process.returncode for process in together]
    assert sorted(codes) == [0, 2, 2], said
    assert all("is being written by another process" in line for code, line in zip(codes, said, strict=True) if code)
    assert toy.steps(tmp_path / "run") == [1, 2, 3, 4, 5]
    assert len(toy.notes(tmp_path / "run", "begins")) == 1


def test_a_job_typed_twice_runs_once_and_other_words_find_the_folder_again(toy):
    assert toy("seed=1", "trainer.max_steps=3,3")[0] == 0
    assert len(toy.runs()) == 1
    code, said = toy("trainer.pause=0.05", "trainer.max_steps=3", "seed=1")
    assert code == 0
    assert "1 of 1 jobs are finished already" in said
    (run,) = toy.runs().values()
    assert len(toy.notes(run, "begins")) == 1


def test_a_finished_job_of_another_source_runs_again_or_is_kept(toy):
    assert toy("seed=1,2")[0] == 0
    run = toy.runs()[1]
    (run / "provenance.json").write_text('{"source": {"hash": "of last week"}}')
    before = untouched(run)
    code, said = toy("seed=1,2", "sweep_stale=keep")
    assert code == 0
    assert f"warning: 1 finished job was made with another source, kept as sweep_stale=keep says: {run.name}" in said
    assert untouched(run) == before
    code, said = toy("seed=1,2", "sweep_stale=often")
    assert (code, said) == (2, "error: job 1 of 2 (seed=1): sweep_stale must be rerun or keep, not 'often'\n")
    code, said = toy("seed=1,2")
    assert code == 0
    assert "warning: 1 finished job was made with another source and will run again" in said
    assert (toy.sweep.with_name("s.stale") / run.name / "DONE").exists()
    assert (run / "DONE").exists()
    assert len(toy.notes(run, "begins")) == len(toy.notes(toy.runs()[2], "begins")) == 1
