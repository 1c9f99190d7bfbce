"""A run that others starve says so once, with what helps; a quiet one says nothing."""

from types import SimpleNamespace

import pytest
import torch

from deepseek_lab import processor
from deepseek_lab.callbacks import busy_machine
from deepseek_lab.callbacks.busy_machine import BusyMachine
from deepseek_lab.processor import Moment
from tiny_run import tiny_stage, tiny_trainer


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(processor, "_usable", lambda: {0, 1})


def said(monkeypatch, share, busy, threads=2, seconds=4.0, steps=9, world_size=1, device="cpu"):
    """The lines of a run whose steps take `seconds`, of which its main thread gets `share`; None: nobody counts."""
    clock, lines = [0], []

    def look():
        at = clock[0] * seconds
        return Moment(at, None if busy is None else at * (share * threads + busy), at * share * threads, at * share)

    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    watch = BusyMachine("/runs/my run", lines.append, look)
    trainer = SimpleNamespace(world_size=world_size)
    stage = SimpleNamespace(device=torch.device(device), steps_done=20)
    watch.on_train_start(trainer, stage)
    for _ in range(steps):
        clock[0] += 1
        stage.steps_done += 1
        watch.on_train_batch_end(trainer, stage, None, None, 0)
    return lines


def test_it_says_once_what_is_lost_and_which_setting_helps(monkeypatch):
    (line,) = said(monkeypatch, share=0.55, busy=2.0)
    assert line == (
        "other programs keep 2.0 of 2 cores busy and took 45% of the seconds of steps 21 to 23, and 2 threads wait for "
        "each other's; fewer lose less, with sums rounded in another order: Ctrl-C, then "
        "python scripts/train.py resume=\"'/runs/my run'\" trainer.n_threads=1"
    )


def test_one_long_step_is_a_window(monkeypatch):
    (line,) = said(monkeypatch, share=0.5, busy=2.0, seconds=600.0, steps=1)
    assert "of the seconds of step 21," in line


def test_with_the_fewest_threads_no_setting_helps(monkeypatch):
    (line,) = said(monkeypatch, share=0.6, busy=2.0, threads=1)
    assert line.endswith("; no setting helps, the run has as few threads as it should")


@pytest.mark.parametrize(
    "quiet",
    [
        {"share": 0.98, "busy": 0.0},
        {"share": 0.95, "busy": 1.0},  # others have a core of their own
        {"share": 0.3, "busy": 0.1},  # it waits for a disk, not for others
        {"share": 0.7, "busy": None},
        {"share": 0.5, "busy": 2.0, "world_size": 2},
        {"share": 0.5, "busy": 2.0, "device": "meta"},
        {"share": 0.5, "busy": 2.0, "steps": 2},  # too short to tell
    ],
)
def test_otherwise_it_says_nothing(monkeypatch, quiet):
    assert said(monkeypatch, **quiet) == []


def test_where_nobody_counts_others_a_starved_run_still_says_so(monkeypatch):
    (line,) = said(monkeypatch, share=0.4, busy=None)
    assert line.startswith("other programs took 60% of the seconds of steps 21 to 23")


def test_it_looks_at_a_real_run(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(busy_machine, "WINDOW", 0.0)
    watch = BusyMachine(tmp_path, looked.append, lambda: looked.append("look") or processor.now())
    tiny_trainer(tmp_path, max_steps=3, callbacks=[watch]).fit(tiny_stage())
    assert looked.count("look") >= 2
