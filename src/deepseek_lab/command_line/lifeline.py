"""How the processes of a sweep end with the process that started it, even when that one is killed with -9.

The starter holds an exclusive lock on a temporary folder, whose path stands in the environment of all it starts,
ranks of ranks included. A thread in each of them waits for a shared lock on the same folder: the system grants it the
moment the starter is gone, and then the process ends with its whole group. (A folder, not a file: what sweeps
temporary files up after some days leaves locked folders alone.)

Why not Linux's "signal at parent's death": ranks that a job starts do not inherit it, it asks about a thread and not
a process, and macOS has none. Why not a pipe: Lightning closes open files when it starts its ranks.
"""

import contextlib
import fcntl
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping

VARIABLE = "DEEPSEEK_LAB_LIFELINE"
"""The environment variable with the path of the folder."""


@contextlib.contextmanager
def held() -> Iterator[dict[str, str]]:
    """The environment for processes that shall end with this one; those that outlive the block end with it."""
    with tempfile.TemporaryDirectory(prefix="deepseek_lab_sweep_") as folder:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield {VARIABLE: folder}
        finally:
            os.close(handle)


def in_a_sweep(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a process of a sweep asks."""
    return VARIABLE in environment


def watch(environment: Mapping[str, str] = os.environ) -> None:
    """Starts the thread that ends this process and its group with the starter; nothing where there is no starter."""
    folder = environment.get(VARIABLE)
    if folder:
        threading.Thread(target=_end_with, args=(folder,), daemon=True, name="lifeline").start()


def _end_with(folder: str) -> None:
    with contextlib.suppress(OSError):
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
        os.rmdir(folder)  # a starter that was killed leaves it
    print("stopped: the process that started this one is gone", file=sys.stderr, flush=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)
