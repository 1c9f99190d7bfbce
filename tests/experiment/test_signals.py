"""A run of each stage, stopped by each signal at moments that nobody chose, ends with the bits of one never stopped."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from deepseek_lab.callbacks.checkpointing import STOPS
from deepseek_lab.checkpoint.located import checkpoints_in, latest_checkpoint
from deepseek_lab.checkpoint.native import read_checkpoint
from deepseek_lab.command_line import PROJECT_ROOT
from tests.experiment.test_post_training import SIZES, STAGES, base  # noqa: F401

SIGNALS = (*STOPS, signal.SIGKILL)
LONGER = ("trainer.max_steps=120", "trainer.validate_every=10", "trainer.checkpoint_every=15")
SECONDS = 3.0
"""Of training, in which a signal may come."""


def words_of(stage: str, run: Path, paths: tuple[str, ...]) -> list[str]:
    """A tiny run of a stage."""
    if stage == "pretrain":
        return [*SIZES, *LONGER, *paths, f"data.corpus.folder={run.parents[2] / 'texts'}", "data.seq_len=32"]
    more = [*STAGES["sft"], f"stage.teacher={run}"] if stage == "distill" else [*STAGES[stage]]
    return [*SIZES, *LONGER, *paths, *more, f"stage={stage}", f"init_from={run}"]


def start(words: list[str], folder: Path) -> "subprocess.Popen[str]":
    def heed_ctrl_c() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a script starts in the background ignores it

    command = [sys.executable, str(PROJECT_ROOT / "scripts" / "train.py"), *words, f"hydra.run.dir={folder}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, preexec_fn=heed_ctrl_c, **pipes)


def rows(folder: Path) -> list[dict[str, Any]]:
    """The whole rows of a run's curves without what depends on the clock."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [{key: value for key, value in json.loads(line).items() if "perf/" not in key} for line in lines]


def stopped(words: list[str], folder: Path, number: signal.Signals, moment: float) -> tuple[int, str]:
    """The run goes on in `folder` and gets a signal so many seconds after its first new row."""
    process = start(words, folder)
    had = len((folder / "metrics.jsonl").read_bytes()) if (folder / "metrics.jsonl").exists() else 0
    changed = (folder / "metrics.jsonl").stat().st_mtime_ns if had else 0
    while process.poll() is None:
        if (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").stat().st_mtime_ns != changed:
            break
        time.sleep(0.02)
    time.sleep(moment)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", *STAGES, "distill"])
def test_a_run_stopped_by_each_signal_at_a_random_moment_ends_with_the_same_bits(
    base: tuple[Path, tuple[str, ...]],  # noqa: F811
    stage: str,
    tmp_path: Path,
) -> None:
    words = words_of(stage, *base)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    process = start(words, whole)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    hits, draw = 0, random.Random()
    for number in draw.sample(SIGNALS, len(SIGNALS)):
        code, said = stopped(words, cut, number, draw.uniform(0.0, SECONDS / len(SIGNALS)))
        assert "Traceback" not in said, said
        if code == 0:
            break
        hits += 1
        if checkpoints_in(cut / "checkpoints")[-1:] == [cut / "checkpoints" / latest_checkpoint(whole).name]:
            break  # all is done but the last words
        if number == signal.SIGKILL:
            assert code == -signal.SIGKILL
        else:
            assert (code, "nothing is lost; to go on: " in said) == (1, True), (number.name, code, said)
    process = start(words, cut)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert hits >= 2, "the machine is too fast for what this test is to see"
    assert (cut / "DONE").exists()
    assert rows(cut) == rows(whole)
    ours, theirs = (read_checkpoint(latest_checkpoint(folder))["state_dict"] for folder in (cut, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@pytest.mark.slow
def test_two_terminals_on_one_folder_never_write_at_once(base: Any, tmp_path: Path) -> None:  # noqa: F811
    words = words_of("pretrain", *base)
    together = [start(words, tmp_path / "run") for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in together]
    codes = [process.returncode for process in together]
    assert sorted(codes) == [0, 2], said
    assert "is being written by another process (pid " in said[codes.index(2)]
    assert [row["step"] for row in rows(tmp_path / "run")] == sorted({row["step"] for row in rows(tmp_path / "run")})
    assert (tmp_path / "run" / "DONE").exists()
