"""What is known of a run without `DONE`."""

import fcntl

import pytest

from deepseek_lab.report.unfinished import TAIL, read_unfinished


def test_progress_is_told_with_and_without_a_config(runs):
    folder = runs.stop()
    assert read_unfinished(folder).progress == "at step 600 of 600 (100%)"
    (folder / ".hydra" / "config.yaml").unlink()
    assert read_unfinished(folder).progress == "at step 600"
    (folder / "metrics.jsonl").unlink()
    assert read_unfinished(folder).progress == "before its first row"


@pytest.mark.parametrize(
    ("log", "state", "reason"),
    [
        (None, "unknown", None),
        ("step 1/9\nstep 2/9\n", "unknown", None),
        ("step 1\nerror: data.files: no such file\n", "failed", "error: data.files: no such file"),
        ("Traceback (most recent call last):\n  x\nValueError: no\n", "failed", "ValueError: no"),
        ("Traceback (most recent call last):\n  x\na.b.OddError: no\nafterwards\n", "failed", "a.b.OddError: no"),
        ("\x1b[31mstep 1\x1b[0m\rerror: late\n", "failed", "error: late"),
    ],
)
def test_the_log_says_whether_and_why_it_failed(runs, log, state, reason):
    run = read_unfinished(runs.stop(log=log))
    assert (run.state, run.reason) == (state, reason)


def test_a_lock_that_is_held_means_running_and_one_left_behind_means_stopped(runs):
    folder = runs.stop(log="error: of the attempt before\n")
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert read_unfinished(folder).state == "running"
    assert read_unfinished(folder).state == "failed"
    (folder / "log.txt").unlink()
    assert read_unfinished(folder).state == "stopped"


def test_only_the_end_of_a_long_log_is_kept_and_bytes_that_are_no_text_do_no_harm(runs):
    folder = runs.stop(log="")
    (folder / "log.txt").write_bytes(b"".join(b"step %d \xff\n\n" % i for i in range(1000)))
    log = read_unfinished(folder).log
    assert len(log) == TAIL
    assert log[-1].startswith("step 999")
