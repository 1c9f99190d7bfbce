"""Files that are there whole or not at all.

The bytes go to `<name>.partial` beside the target, are forced to disk and take the name by `rename`,
which replaces the older file in one step; the folder is forced to disk last, or the new name could be
lost with the power. A temporary folder elsewhere would not do: across file systems a rename is a copy.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from deepseek_lab.disk import naming

PARTIAL = ".partial"
"""What the name of a file ends in while it is written."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Lets `write` fill a file and gives it the name `path` only when all of it is on disk.

    Raises OSError, naming `path`, when the disk refuses; an older file of that name is untouched then.
    """
    partial = path.with_name(path.name + PARTIAL)
    with naming(path):
        try:
            with partial.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def write_text_atomically(path: Path, text: str) -> None:
    """`write_atomically` for a UTF-8 text."""
    write_atomically(path, lambda file: file.write(text.encode()))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
