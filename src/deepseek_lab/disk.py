"""Disks that refuse a write: full, over a quota, read-only, broken. The file is always named.

A failed write does not know the name of its file, and torch wraps it in an error of its own.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
REFUSALS = NO_ROOM | {errno.EROFS, errno.EIO}


def refusal(error: BaseException | None) -> OSError | None:
    """The disk's own error in `error` or in what it was raised from; None where it is not the disk's."""
    while error is not None and not (isinstance(error, OSError) and error.errno in REFUSALS):
        error = error.__cause__ or error.__context__
    return error


@contextmanager
def naming(path: object) -> Iterator[None]:
    """A block that writes `path`. Raises OSError with the path where the disk refuses, however it was wrapped."""
    try:
        yield
    except Exception as error:
        found = refusal(error)
        if found is None or "could not be written" in str(found):
            raise
        within = str(found.filename or "").startswith(f"{path}/")  # a folder's block names the file in it
        where = found.filename if within else path
        reason = os.strerror(found.errno or 0)
        raise OSError(found.errno, f"{where}: could not be written ({reason})") from None
