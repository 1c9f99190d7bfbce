"""A requeued job of SLURM goes on in its folders; its warnings put it back when the state is saved."""

import json
import os
import signal

import pytest

from deepseek_lab.command_line.slurm import job_number, requeued_in_time

FIRST = {"SLURM_JOB_ID": "77"}
AGAIN = {**FIRST, "SLURM_RESTART_COUNT": "1"}


@pytest.fixture
def slurm(monkeypatch):
    def be(environment):
        for name in [*os.environ]:
            if name.startswith("SLURM_"):
                monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    be({})
    return be


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A scontrol that writes down what it is asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (folder / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return lambda: (tmp_path / "asked").read_text().splitlines() if (tmp_path / "asked").exists() else []


def test_a_requeued_run_goes_on_in_its_folder(app, slurm):
    slurm(FIRST)
    assert app("attention=mla", "seed=3")[0] == app("seed=4")[0] == 0
    slurm(AGAIN)
    assert app("attention=mla", "seed=3")[0] == app("seed=4")[0] == 0
    assert app.folders[2:] == app.folders[:2]


def test_what_was_typed_otherwise_or_by_another_job_gets_a_folder_of_its_own(app, slurm):
    slurm(FIRST)
    assert app("seed=3")[0] == app("seed=3")[0] == 0
    slurm({**AGAIN, "SLURM_JOB_ID": "78"})
    assert app("seed=3")[0] == 0
    slurm(AGAIN)
    assert app("seed=5")[0] == 0
    assert len(set(app.folders)) == 4


def test_of_two_runs_of_the_same_words_the_unfinished_one_goes_on_and_a_finished_one_stays(app, slurm):
    slurm(FIRST)
    assert app("seed=3")[0] == app("seed=3")[0] == 0
    first, second = app.folders
    (first / "DONE").touch()
    slurm(AGAIN)
    assert app("seed=3")[0] == 0
    (second / "DONE").touch()
    assert app("seed=3")[0] == 0
    assert app.folders[2:] == [second, first]


def test_a_requeued_sweep_without_a_name_goes_on_in_its_folder(app, slurm):
    slurm(FIRST)
    assert app("-m", "seed=1,2")[0] == 0
    slurm(AGAIN)
    assert app("-m", "seed=1,2")[0] == 0
    assert app.folders[2:] == app.folders[:2]


def test_a_job_of_an_array_is_its_array_and_its_place():
    assert job_number({**FIRST, "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "2"}) == "70_2"
    assert job_number({}) is None


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2], ids=lambda number: number.name)
def test_a_warning_puts_the_job_back(slurm, scontrol, capfd, number):
    slurm(FIRST)
    with requeued_in_time():
        os.kill(os.getpid(), number)
    assert scontrol() == ["requeue 77"]
    assert "the job is back in the queue" in capfd.readouterr().err
    assert signal.getsignal(number) == signal.SIG_DFL


def test_outside_slurm_in_a_sweeps_job_and_where_submitit_handles_them_warnings_stay_as_they_are(slurm, monkeypatch):
    with requeued_in_time():
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    slurm(FIRST)
    monkeypatch.setenv("DEEPSEEK_LAB_LIFELINE", "/nowhere")
    with requeued_in_time():
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    monkeypatch.delenv("DEEPSEEK_LAB_LIFELINE")

    def submitits(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGUSR2, submitits)
    try:
        with requeued_in_time():
            assert signal.getsignal(signal.SIGUSR2) is submitits
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_note_that_cannot_be_read_is_no_note(app, slurm):
    slurm(FIRST)
    assert app("seed=3")[0] == 0
    (app.folders[0] / ".slurm.json").write_text("{")
    slurm(AGAIN)
    assert app("seed=3")[0] == 0
    assert app.folders[1] != app.folders[0]
    assert json.loads((app.folders[1] / ".slurm.json").read_text())["job"] == "77"
