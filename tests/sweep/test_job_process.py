"""One job as a process: its log, its rows, its group, its end."""

import json
import signal
import sys
import time

import pytest

from deepseek_lab.sweep.job_process import JobProcess, PlannedJob, ending, note_order
from deepseek_lab.sweep.slots import Needs, Slot

SLOT = Slot(("0",), {"OMP_NUM_THREADS": "3"})


def job(folder, code, devices=1):
    return PlannedJob(folder=folder / "run", command=[sys.executable, "-c", code], needs=Needs(devices=devices))


def ended(process, patience=0.5):
    deadline = time.monotonic() + 20
    while (code := process.poll(patience)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return code


def test_its_words_and_environment_stand_in_its_log_behind_earlier_ones(tmp_path):
    code = "import os, sys; print(os.environ['OMP_NUM_THREADS'], os.environ['X']); sys.exit('bad end')"
    planned = job(tmp_path, code)
    for _ in range(2):
        assert ended(JobProcess(planned, SLOT, {"X": "y"})) == 1
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("---")] == ["3 y", "bad end"] * 2
    assert lines[0].startswith("--- 20")
    assert "OMP_NUM_THREADS=3" in lines[0]
    assert planned.log_end(1) == ["bad end"]


RANK = "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"


def test_ranks_that_outlive_their_job_are_ended(tmp_path):
    process = JobProcess(job(tmp_path, f"{RANK}; print(p.pid)", devices=2), SLOT, {})
    assert ended(process) == 0
    pid = int((tmp_path / "run" / "log.txt").read_text().splitlines()[-1])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and is_running(pid):
        time.sleep(0.02)
    assert not is_running(pid)


def is_running(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_stop_is_polite_and_a_kill_is_not(tmp_path):
    process = JobProcess(job(tmp_path, "import time; time.sleep(60)"), SLOT, {})
    process.stop()
    assert ended(process) == -signal.SIGTERM
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(60)"
    process = JobProcess(job(tmp_path, stubborn), SLOT, {})
    while "deaf" not in process.job.log_end(1):
        time.sleep(0.02)
    process.stop()
    assert process.poll() is None
    process.kill()
    assert ended(process) == -signal.SIGKILL


def test_the_log_of_a_job_that_cannot_start_is_an_os_error(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(FileExistsError):
        JobProcess(job(tmp_path, "pass"), SLOT, {})


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("", {}),
        ('{"st', {}),
        ('{"step": 1}\n{"st', {"step": 1}),
        ('{"step": 1}\n{"step": 2}\n', {"step": 2}),
        ("x" * 50_000 + '\n{"step": 3}\n', {"step": 3}),
        ("[1]\n", {}),
    ],
)
def test_the_last_whole_row_is_read(tmp_path, text, row):
    planned = PlannedJob(folder=tmp_path, command=[])
    assert planned.last_row() == {}
    (tmp_path / "metrics.jsonl").write_text(text)
    assert planned.last_row() == row


def test_its_result_is_the_last_validation_loss(tmp_path):
    planned = PlannedJob(folder=tmp_path, command=[])
    assert planned.result() is None
    (tmp_path / "summary.json").write_text('{"metrics": {"val/loss": 2.5}}')
    assert planned.result() == 2.5


def test_an_end_has_words():
    assert [ending(code) for code in (2, -9, -99)] == ["exit code 2", "killed by SIGKILL", "killed by signal 99"]


def test_the_order_typed_is_noted_and_further_jobs_stand_behind(tmp_path):
    def order(*names):
        note_order([tmp_path / name for name in names])
        return json.loads((tmp_path / "jobs.json").read_text())["folders"]

    assert order("mla", "mha", "mla") == ["mla", "mha"]
    assert order("mha-2") == ["mla", "mha", "mha-2"], "a second seed of one variant moves no other"
    assert order("mha", "mla", "mha-2", "mqa") == ["mha", "mla", "mha-2", "mqa"], "all of them, typed anew"
