"""A full disk, wherever a run writes: one line that names the file and what is kept, and the run goes on later."""

import errno
import os
import re
import resource
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from deepseek_lab.checkpoint.located import checkpoints_in, latest_checkpoint
from deepseek_lab.checkpoint.native import read_checkpoint
from deepseek_lab.disk import naming
from deepseek_lab.experiment import conversion
from deepseek_lab.experiment.full_disk import kept_on_full_disk
from deepseek_lab.report.writing import write_whole
from deepseek_lab.stages.errors import DiskRefused
from tiny_run import rows, tiny_stage, tiny_trainer

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's


class Fills(Callback):
    """From a step on the disk takes no more than some bytes a file."""

    def __init__(self, step: int, limit: int) -> None:
        self.step, self.limit = step, limit

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        if pl_module.steps_done + 1 == self.step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.fixture
def room() -> Any:
    """The disk as it was, after the block and after the test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def make() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    yield make
    make()


def run(folder: Path, *callbacks: Callback) -> None:
    found = checkpoints_in(folder / "checkpoints")
    resume_step = read_checkpoint(found[-1])["run"]["steps_done"] if found else None
    trainer = tiny_trainer(folder, max_steps=8, every=4, log_every=1, resume_step=resume_step, callbacks=callbacks)
    trainer.fit(tiny_stage(), ckpt_path=found[-1] if found else None)


def run_on_a_full_disk(folder: Path, fills: Fills, room: Any) -> None:
    with kept_on_full_disk(folder):
        try:
            run(folder, fills)
        finally:
            room()


@pytest.mark.parametrize(("step", "limit", "named"), [(7, 600, "metrics.jsonl|/tb/"), (8, 30000, "step_00000008.ckpt")])
def test_between_checkpoints_and_in_one_the_file_is_named_and_the_run_goes_on(tmp_path, room, step, limit, named):
    (tmp_path / "whole").mkdir()
    run(tmp_path / "whole")
    folder = tmp_path / "full"
    folder.mkdir()
    with pytest.raises(DiskRefused) as stop:
        run_on_a_full_disk(folder, Fills(step, limit), room)
    line = str(stop.value)
    assert re.search(named, line.partition(": could not be written (File too large)")[0])
    assert "its first 4 steps are kept; when there is room: " in line
    assert shlex.split(line.partition("room: ")[2])[2] == f"resume={folder}"
    for row in (folder / "metrics.jsonl").read_text().splitlines():
        assert row.endswith("}"), "no half of a row"
    run(folder)
    assert rows(folder) == rows(tmp_path / "whole")
    ours, theirs = (read_checkpoint(latest_checkpoint(each))["state_dict"] for each in (folder, tmp_path / "whole"))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_the_event_file_is_named(tmp_path, room):
    trainer = tiny_trainer(tmp_path)
    curves = trainer.loggers[1]
    curves.log_text("a", "b", 1)
    curves.save()
    curves.log_text("a", "b" * 5000, 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        with pytest.raises(OSError, match=r"tb/?: could not be written \(File too large\)"):
            curves.save()
    finally:
        room()


def refused_in(folder: Path, error: Exception, cause: Exception | None = None) -> None:
    with kept_on_full_disk(folder):
        raise error from cause


def test_before_the_first_checkpoint_nothing_is_kept_and_the_same_command_begins_again(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{tmp_path}/.hydra/config.yaml")
    with pytest.raises(DiskRefused) as stop:
        refused_in(tmp_path, full)
    assert str(stop.value) == (
        f"{tmp_path}/.hydra/config.yaml: could not be written (No space left on device); nothing of the run is kept; "
        "the same command begins it again when there is room"
    )


def test_a_refusal_that_torch_or_lightning_wrapped_is_found_and_other_errors_stay(tmp_path):
    with pytest.raises(DiskRefused, match=str(tmp_path)):
        refused_in(tmp_path, ValueError("you tried to log 3"), OSError(errno.ENOSPC, "full"))
    with pytest.raises(FileNotFoundError):
        refused_in(tmp_path, FileNotFoundError(errno.ENOENT, "none", "x"))
    with pytest.raises(ValueError, match="other"), naming("x"):
        raise ValueError("other")


def test_a_report_names_its_file_and_leaves_nothing_half(tmp_path, room):
    write_whole(tmp_path / "report.md", b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        with pytest.raises(OSError, match=r"report\.md: could not be written \(File too large\)"):
            write_whole(tmp_path / "report.md", b"x" * 5000)
    finally:
        room()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("report.md", b"old")]


def test_a_converted_run_names_its_file_though_torch_hides_the_cause(tmp_path, room):
    model = tiny_stage().model
    found = SimpleNamespace(tokenizer=lambda: None, chat_template=lambda: "", folder=tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        with pytest.raises(OSError, match=r"step_0+\.ckpt: could not be written \(File too large\)"):
            conversion.write_run(found, model, tmp_path / "run", SimpleNamespace(dtype=None))
    finally:
        room()
    assert list(tmp_path.iterdir()) == []
