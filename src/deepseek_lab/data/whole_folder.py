"""A folder, or a file, that appears whole or not at all.

Files are written into a hidden sibling, brought to the disk, and the sibling is renamed. Whatever stops
the writing (a full disk, Ctrl-C) removes what was written; kill -9 leaves only the hidden sibling.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deepseek_lab.disk import naming


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Gives an empty folder to write into; it becomes `target` when the block ends without an error.

    When another process made `target` meanwhile, its folder stays and ours is dropped. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with naming(target):
            yield partial
            for path in [*partial.iterdir(), partial]:
                to_disk(path)
            partial.chmod(0o755)  # mkdtemp makes private folders; a cache may be shared
            _rename(partial, target)
            to_disk(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def whole_file(target: Path) -> Iterator[IO[str]]:
    """Gives a text file to write; it becomes (or replaces) `target` when the block ends without an error."""
    partial = target.with_name(f".{target.name}-{os.getpid()}")
    try:
        with naming(target):
            with partial.open("w", encoding="utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
            to_disk(target.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Inside is one process of this machine; others wait. The system lets go of the lock of a killed one."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def to_disk(path: Path) -> None:
    """Waits until the file or folder at `path` is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rename(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise
