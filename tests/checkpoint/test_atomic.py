"""A file is there whole or not at all."""

import errno
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from deepseek_lab.checkpoint.atomic import write_atomically, write_text_atomically


def full_after(limit: int, file: BinaryIO, content: bytes) -> None:
    file.write(content[:limit])
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_new_file_takes_the_place_of_the_old(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text_atomically(target, "one")
    write_text_atomically(target, "two ω")
    assert target.read_text() == "two ω"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_leaves_the_old_file_and_no_half(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(OSError, match=r"a\.bin: could not be written") as refusal:
        write_atomically(target, lambda file: full_after(2, file, b"new!"))
    assert refusal.value.errno == errno.ENOSPC
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_disk_is_named_even_when_torch_hides_it(tmp_path: Path) -> None:
    class FullFile:
        def __init__(self, file: BinaryIO) -> None:
            self.file, self.written = file, 0

        def write(self, content: bytes) -> int:
            self.written += len(content)
            if self.written > 1000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(content)

        def flush(self) -> None:
            self.file.flush()

    target = tmp_path / "a.ckpt"
    with pytest.raises(OSError, match=r"a\.ckpt: could not be written \(No space left on device\)"):
        write_atomically(target, lambda file: torch.save({"x": torch.zeros(5000)}, FullFile(file)))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "a", lambda file: 1 / 0)
    assert not list(tmp_path.iterdir())
