"""Resume is exact on real data: a mixture with a stream that is read as training goes on, FIM and a batch ramp."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deepseek_lab.checkpoint.located import latest_checkpoint
from deepseek_lab.checkpoint.native import read_checkpoint
from mixed_data import write_texts
from mixed_run_process import run
from tiny_run import rows

DRIVER = Path(__file__).parents[2] / "mixed_run_process.py"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder)
    return folder


@pytest.fixture(scope="module")
def whole(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    run(texts, folder / "cache", folder)
    return folder


def run_process(texts: Path, folder: Path, *kill: str) -> subprocess.CompletedProcess[str]:
    """One process of training with a cache of its own; returns when it ended or was killed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(DRIVER), str(texts), str(folder / "cache"), str(folder), *kill]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)


def assert_same_run(ours: Path, theirs: Path) -> None:
    assert rows(ours) == rows(theirs)
    a, b = (read_checkpoint(latest_checkpoint(folder)) for folder in (ours, theirs))
    assert a["run"]["steps_done"] == b["run"]["steps_done"] == 20
    assert a["run"]["tokens_seen"] == b["run"]["tokens_seen"]
    assert all(torch.equal(a["state_dict"][name], value) for name, value in b["state_dict"].items())


def test_the_whole_run_reads_every_part(whole: Path) -> None:
    last = rows(whole)[-1]
    assert last["val/code/bits_per_byte"] < 9
    assert last["val/prose/bits_per_byte"] < 9
    assert last["val/code/bits_per_byte"] != last["val/prose/bits_per_byte"]
    places = [*(whole / "cache" / "data").glob("*/place-*.json")]
    assert len(places) > 4, "shards were made while training went on"


def test_kill_nine_in_a_step_and_resume_gives_the_same_run(texts: Path, whole: Path, tmp_path: Path) -> None:
    killed = run_process(texts, tmp_path, "step", "11")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run(texts, tmp_path / "cache", tmp_path)
    assert_same_run(tmp_path, whole)


@pytest.mark.slow
def test_kill_nine_anywhere_and_resume_gives_the_same_run(texts: Path, whole: Path, tmp_path: Path) -> None:
    first = str(random.Random().randrange(6, 12))
    before = [("shard", "1"), ("step", "2"), ("write", "4"), ("validation", "5"), ("step", first)]
    kills = [*before, ("shard", "4"), ("validation", "15")]  # shard 4 is first read in step 13
    for kill in kills:
        killed = run_process(texts, tmp_path, *kill)
        assert killed.returncode == -signal.SIGKILL, (kill, killed.stderr)
    ended = run_process(texts, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert_same_run(tmp_path, whole)
