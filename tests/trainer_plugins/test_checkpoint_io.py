"""Checkpoint files through Lightning: a full disk loses nothing that was there."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from deepseek_lab.checkpoint.located import latest_checkpoint
from deepseek_lab.checkpoint.native import load_model
from deepseek_lab.config import DataError
from deepseek_lab.trainer_plugins.checkpoint_io import AtomicCheckpointIO
from tiny_run import rows, tiny_stage, tiny_trainer


def test_a_full_disk_keeps_the_older_checkpoint_and_the_run_goes_on_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "full").mkdir()
    tiny_trainer(tmp_path / "whole", every=4).fit(tiny_stage())
    real, calls = torch.save, []

    def save(content: Any, file: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            file.write(b"x" * 100)
            raise OSError(errno.ENOSPC, "No space left on device")
        real(content, file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match=r"step_00000008\.ckpt: could not be written \(No space left") as stop:
        tiny_trainer(tmp_path / "full", every=4).fit(tiny_stage())
    assert "\n" not in str(stop.value)
    assert [path.name for path in (tmp_path / "full" / "checkpoints").iterdir()] == ["step_00000004.ckpt"]
    monkeypatch.undo()
    last = latest_checkpoint(tmp_path / "full")
    tiny_trainer(tmp_path / "full", every=4, resume_step=4).fit(tiny_stage(), ckpt_path=last)
    assert rows(tmp_path / "full") == rows(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    plugin = AtomicCheckpointIO()
    plugin.save_checkpoint({"x": torch.zeros(10_000)}, small_disk / "a.ckpt")
    with pytest.raises(OSError, match=r"b\.ckpt: could not be written \(No space left on device\)"):
        plugin.save_checkpoint({"x": torch.zeros(1_000_000)}, small_disk / "b.ckpt")
    assert [path.name for path in small_disk.iterdir()] == ["a.ckpt"]
    assert torch.load(small_disk / "a.ckpt", weights_only=True)["x"].shape == (10_000,)


def test_only_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, max_steps=9, every=2)
    trainer.callbacks[-1].keep = 2  # type: ignore[attr-defined]
    trainer.fit(tiny_stage())
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step_00000008.ckpt", "step_00000009.ckpt"]
    load_model(tmp_path)


def test_a_bad_file_is_refused_before_anything_is_lost(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, max_steps=4, every=2).fit(tiny_stage())
    before = rows(tmp_path)
    last = latest_checkpoint(tmp_path)
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(DataError, match="truncated"):
        tiny_trainer(tmp_path, resume_step=3).fit(tiny_stage(), ckpt_path=last)
    assert rows(tmp_path) == before
