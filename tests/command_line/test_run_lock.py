"""One writer a run folder, whatever becomes of it."""

import subprocess
import sys

import pytest

from deepseek_lab.command_line.run_lock import LOCK, hold, is_written, release, written
from deepseek_lab.config import ConfigError

HOLDER = """
import sys, time
from pathlib import Path
from deepseek_lab.command_line.run_lock import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that writes `tmp_path / "run"`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_a_second_writer_is_refused_by_name_until_the_first_is_killed(tmp_path, other):
    run = tmp_path / "run"
    assert is_written(run)
    with pytest.raises(ConfigError, match=rf"run is being written by another process \(pid {other.pid}\)$"):
        hold(run)
    other.kill()
    other.wait()
    assert not is_written(run)
    with written(run):
        assert is_written(run)
    assert not is_written(run)


def test_a_process_takes_its_own_lock_as_often_as_it_likes(tmp_path):
    hold(tmp_path)
    with written(tmp_path):
        assert is_written(tmp_path)
    assert (tmp_path / LOCK).exists(), "the file stays: only its lock means something"
    release(tmp_path)
    assert not is_written(tmp_path)


def test_a_folder_that_is_not_there_is_not_written(tmp_path):
    assert not is_written(tmp_path / "nowhere")


def test_other_ranks_take_no_lock(tmp_path, monkeypatch, other):
    monkeypatch.setenv("LOCAL_RANK", "1")
    hold(tmp_path / "run")
    assert is_written(tmp_path / "run")


def test_without_locks_on_the_file_system_a_run_goes_on(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    hold(tmp_path)
    assert not is_written(tmp_path)
