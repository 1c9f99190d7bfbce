"""What a person sees of a sweep."""

import io
import time

import pytest
from rich.console import Console

from deepseek_lab.sweep.board import Board, Standing
from deepseek_lab.sweep.job_process import PlannedJob


@pytest.fixture
def standings(tmp_path):
    made = [Standing(PlannedJob(folder=tmp_path / f"seed-{n}", command=[], max_steps=30)) for n in range(12)]
    (tmp_path / "seed-7").mkdir()
    (tmp_path / "seed-7" / "metrics.jsonl").write_text('{"step": 4, "train/loss": 2.5, "val/bits_per_byte": null}\n')
    return made


def shown(board, height=40, terminal=True):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, height=height, color_system=None)
    board.console = console
    console.print(board.render())
    return console.file.getvalue().splitlines()


def test_a_line_a_job_with_its_progress_and_a_count(standings):
    standings[7].state, standings[7].started = "running", time.monotonic()
    lines = shown(Board(standings))
    assert len(lines) == 13
    assert "seed-7" in lines[7]
    assert lines[7].split()[0] == "running"
    assert lines[7].rstrip().endswith("step 4/30  loss 2.500")
    assert lines[-1].strip() == "12 jobs: 1 running, 11 queued"


def test_where_there_is_little_room_what_runs_and_failed_is_shown(standings):
    for number, state in ((9, "running"), (10, "failed"), (0, "finished"), (1, "finished before")):
        standings[number].state = state
    lines = shown(Board(standings), height=6)
    assert [line.split()[1] for line in lines[:-1]] == ["seed-2", "seed-3", "seed-9", "seed-10"]
    assert lines[-1].strip() == "12 jobs: 1 running, 1 failed, 8 queued, 1 finished, 1 finished before"


def test_without_a_terminal_changes_are_lines(standings):
    console = Console(file=io.StringIO(), width=200)
    standings[3].state = "finished before"
    with Board(standings, console) as board:
        standings[7].state, standings[7].started = "running", time.monotonic() - 3
        board.changed(standings[7])
        standings[7].state, standings[7].ended = "finished", time.monotonic()
        board.changed(standings[7])
    assert console.file.getvalue().splitlines() == [
        "1 of 12 jobs are finished already",
        "job 8 of 12 started: seed-7",
        "job 8 of 12 finished after 3 s: seed-7  step 4/30  loss 2.500",
    ]
