"""One writer a run folder: a lock on a file in it, which the system gives back however its holder ends.

Only the file's lock says that a run is being written, never that the file is there: it is left in place, because
two processes could each hold a lock on a file of the same name if one of them removed it. Where a file system knows
no locks, runs go on without one.

Left out: ranks other than 0, which write nothing of their own.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from deepseek_lab.command_line.ranks import started
from deepseek_lab.config import ConfigError
from deepseek_lab.disk import naming

LOCK = ".lock"

_held: dict[Path, int] = {}
"""Folders this process holds, each with the open file of its lock."""


def hold(folder: Path) -> None:
    """Takes the lock of a run folder, made if need be, until `release` or the end of this process.

    Taking it twice is taking it once. Raises ConfigError when another process writes the run.
    """
    if folder in _held or started().rank:
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        writer = os.read(handle, 32).decode().strip()
        os.close(handle)
        raise ConfigError(f"{folder} is being written by another process{f' ({writer})' if writer else ''}") from None
    except OSError:
        os.close(handle)
        return
    with naming(folder / LOCK):
        os.ftruncate(handle, 0)
        os.write(handle, f"pid {os.getpid()}\n".encode())
    _held[folder] = handle


def release(folder: Path) -> None:
    """Gives a lock back that `hold` took."""
    if folder in _held:
        os.close(_held.pop(folder))


@contextlib.contextmanager
def written(folder: Path) -> Iterator[None]:
    """A block that writes a run folder alone. Raises ConfigError as `hold` does."""
    hold(folder)
    try:
        yield
    finally:
        release(folder)


def is_written(folder: Path) -> bool:
    """Whether a process, this one included, writes the run; asked with a shared lock that is given back at once."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), (folder / LOCK).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False
