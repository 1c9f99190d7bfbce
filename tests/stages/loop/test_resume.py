"""Resume is exact: a run stopped anywhere and gone on with equals the run never stopped, to the bit."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from deepseek_lab.checkpoint.located import checkpoint_name, checkpoints_in, latest_checkpoint
from deepseek_lab.checkpoint.native import read_checkpoint
from deepseek_lab.config import DataError
from tiny_run import TinyData, rows, tiny_stage, tiny_trainer

DRIVER = Path(__file__).parents[2] / "tiny_run_process.py"


class Draws(Callback):
    """Reads every random generator at the start and after each step, as something in training might."""

    def __init__(self) -> None:
        self.seen: dict[int, list[float]] = {}
        self.counters: dict[int, Any] = {}

    def _draw(self) -> list[float]:
        return [random.random(), float(np.random.rand()), torch.rand(()).item()]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._draw()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.seen[pl_module.steps_done] = self._draw()
        loop = trainer.fit_loop
        self.counters[pl_module.steps_done] = (
            loop.epoch_progress.state_dict(),
            loop.epoch_loop.batch_progress.state_dict(),
            trainer.global_step,
        )


def whole_run(folder: Path, every: int = 5) -> tuple[Any, Draws]:
    folder.mkdir()
    random.seed(3), np.random.seed(3)
    draws = Draws()
    stage = tiny_stage()
    tiny_trainer(folder, every=every, callbacks=[draws]).fit(stage)
    return stage, draws


def resumed_from(whole: Path, folder: Path, step: int) -> tuple[Any, Draws, Any]:
    """The run that was killed some time after `step`: its rows are all there, its newest checkpoint is `step`."""
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "metrics.jsonl", folder)
    shutil.copy(whole / "checkpoints" / checkpoint_name(step), folder / "checkpoints")
    random.seed(8), np.random.seed(8)
    draws = Draws()
    stage = tiny_stage()
    torch.manual_seed(77)
    trainer = tiny_trainer(folder, every=5, resume_step=step, callbacks=[draws])
    trainer.fit(stage, ckpt_path=latest_checkpoint(folder))
    return stage, draws, trainer


@pytest.mark.parametrize("every", [1, 5, 7])
def test_a_resumed_run_equals_one_never_stopped(tmp_path: Path, every: int) -> None:
    """Steps with a validation (5), without (7), in the middle of a window of means, and the one before the end."""
    whole, whole_draws = whole_run(tmp_path / "whole", every)
    for step in (s for s in (1, 5, 7, 14, 15, 19) if s % every == 0):
        stage, draws, trainer = resumed_from(tmp_path / "whole", tmp_path / f"from{step}", step)
        assert rows(tmp_path / f"from{step}") == rows(tmp_path / "whole")
        assert trainer.global_step == 20
        for (name, ours), theirs in zip(stage.state_dict().items(), whole.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs), name
        ours_states = stage.optimizers().state_dict()["state"]
        for key, theirs_state in whole.optimizers().state_dict()["state"].items():
            assert all(torch.equal(ours_states[key][name], value) for name, value in theirs_state.items())
        assert draws.seen == {s: seen for s, seen in whole_draws.seen.items() if s > step}
        assert draws.counters == {s: counters for s, counters in whole_draws.counters.items() if s > step}
        assert int(stage.tokens_seen) == int(whole.tokens_seen)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    whole_run(tmp_path / "whole")
    before = rows(tmp_path / "whole")
    stage = tiny_stage()
    last = latest_checkpoint(tmp_path / "whole")
    tiny_trainer(tmp_path / "whole", resume_step=20).fit(stage, ckpt_path=last)
    assert rows(tmp_path / "whole") == before
    assert stage.is_last_step


def test_a_later_end_goes_on_with_a_finished_run(tmp_path: Path) -> None:
    whole_run(tmp_path / "whole")
    stage = tiny_stage()
    tiny_trainer(tmp_path / "whole", max_steps=24, resume_step=20).fit(
        stage, ckpt_path=latest_checkpoint(tmp_path / "whole")
    )
    assert [row["step"] for row in rows(tmp_path / "whole") if row["step"] > 18] == [20, 21, 24]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"data": TinyData(seed=2)}, "its data is tiny-1, here it is tiny-2"),
        ({"seed": 2, "data": TinyData(seed=1)}, "its seed is 1, here it is 2"),
        ({"depth": 0}, "its model has another config"),
    ],
)
def test_another_run_is_refused_in_one_line(tmp_path: Path, other: dict[str, Any], named: str) -> None:
    tiny_trainer(tmp_path, max_steps=2, every=2).fit(tiny_stage())
    before = rows(tmp_path)
    with pytest.raises(DataError, match=named) as refusal:
        tiny_trainer(tmp_path, resume_step=1).fit(tiny_stage(**other), ckpt_path=latest_checkpoint(tmp_path))
    assert "\n" not in str(refusal.value)
    assert rows(tmp_path) == before


class Crash(Callback):
    """Ends the run in the middle of the validation of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        if pl_module.steps_done == self.step:
            raise MemoryError


@pytest.mark.parametrize("step", [5, 15, 20])
def test_a_step_counts_as_done_only_after_its_validation(tmp_path: Path, step: int) -> None:
    whole_run(tmp_path / "whole")
    (tmp_path / "crashed").mkdir()
    with pytest.raises(MemoryError):
        tiny_trainer(tmp_path / "crashed", every=5, callbacks=[Crash(step)]).fit(tiny_stage())
    found = checkpoints_in(tmp_path / "crashed" / "checkpoints")
    assert [path.name for path in found] == [checkpoint_name(s) for s in range(5, step, 5)]
    last = found[-1] if found else None
    resume_step = step - 5 if found else None
    tiny_trainer(tmp_path / "crashed", every=5, resume_step=resume_step).fit(tiny_stage(), ckpt_path=last)
    assert rows(tmp_path / "crashed") == rows(tmp_path / "whole")


def run_process(folder: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    """One process of training in `folder`, going on with what is there; returns when it ended or was killed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(DRIVER), str(folder), *extra]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def go_on(folder: Path) -> None:
    """Resumes in this process, which starts faster."""
    last = latest_checkpoint(folder)
    tiny_trainer(folder, every=4, resume_step=int(last.stem[5:])).fit(tiny_stage(), ckpt_path=last)


def assert_same_run(ours: Path, theirs: Path) -> None:
    assert rows(ours) == rows(theirs)
    a, b = (read_checkpoint(latest_checkpoint(folder)) for folder in (ours, theirs))
    assert a["run"]["steps_done"] == b["run"]["steps_done"] == 20
    assert all(torch.equal(a["state_dict"][name], value) for name, value in b["state_dict"].items())


def test_kill_nine_in_a_step_and_resume_gives_the_same_run(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    tiny_trainer(tmp_path / "whole", every=4).fit(tiny_stage())
    killed = run_process(tmp_path / "killed", "step", "11")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    go_on(tmp_path / "killed")
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_kill_nine_at_five_random_points_with_validation_and_a_checkpoint_write(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    folder = tmp_path / "killed"
    folder.mkdir()
    tiny_trainer(tmp_path / "whole", every=4).fit(tiny_stage())
    draw = random.Random()
    first = draw.randrange(5, 20)
    kills = [("step", "2"), ("write", "4"), ("validation", "5"), ("step", str(first)), ("validation", "20")]
    for kill in kills:
        killed = run_process(folder, *kill)
        assert killed.returncode == -signal.SIGKILL, (kill, killed.stderr)
        if kill[0] == "write":
            assert list((folder / "checkpoints").glob("*.partial"))
    ended = run_process(folder)
    assert ended.returncode == 0, ended.stderr
    assert_same_run(folder, tmp_path / "whole")
    assert not list((folder / "checkpoints").glob("*.partial"))


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_asked_to_stop_it_saves_the_finished_step_and_says_how_to_go_on(tmp_path: Path, number: int) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    tiny_trainer(tmp_path / "whole", every=4).fit(tiny_stage())
    stopped = run_process(tmp_path / "stopped", "signal", "10", str(int(number)))
    assert stopped.returncode == 1
    line = stopped.stdout.strip().splitlines()[-1]
    # Step 10 is validated before it counts as finished.
    assert line.startswith("Interrupted: stopped after step 10 of 20")
    assert line.endswith(f"python scripts/train.py resume={tmp_path / 'stopped'}")
    assert latest_checkpoint(tmp_path / "stopped").name == checkpoint_name(10)
    assert rows(tmp_path / "stopped")[-1]["step"] == 10
    go_on(tmp_path / "stopped")
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
