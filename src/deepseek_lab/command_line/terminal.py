"""stdout and stderr that never stop a run: whoever reads them may leave, fill up, or not know a character.

A run is worth more than what it prints. What cannot be written is dropped, the first cause is kept, and the end of the
command says it once where there is still somebody to say it to. A character that the terminal's encoding does not
hold is printed as its number. Standard files that are closed are opened on nothing: the next file that the process
opens would take their place, and messages would be written into it.

Where stdout carries the result (`plan`, `generate`), a reader that leaves ends the command, as it ends other tools,
and a result that could not be written is an error.
"""

import contextlib
import errno
import io
import os
import select
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO


class _Channel(io.FileIO):
    """A file descriptor on which a write never fails; the first cause is kept in `lost`."""

    def __init__(self, handle: int, reader_may_leave: bool) -> None:
        super().__init__(handle, "w", closefd=False)
        self._reader_may_leave = reader_may_leave
        self.lost: OSError | None = None

    def write(self, data: object) -> int:
        """All of it, or nothing any more. Raises SystemExit where the reader's leaving ends the command."""
        left = memoryview(data).cast("B")  # type: ignore[arg-type]
        size = len(left)
        try:
            while len(left) and self.lost is None:
                written = super().write(left)
                if written is None:  # a pipe that is full and does not wait
                    select.select([], [self], [], 1.0)
                left = left[written or 0 :]
        except OSError as error:
            self.lost = error
            if isinstance(error, BrokenPipeError) and not self._reader_may_leave:
                raise SystemExit(1) from None
        return size


class Terminal:
    """What became of stdout; `out` is None where it is not the process's own."""

    def __init__(self, out: _Channel | None) -> None:
        self._out = out

    def lost_output(self) -> str | None:
        """Why stdout could not be written, in one line; None when it was, or when its reader left."""
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        error = self._out.lost if self._out else None
        if error is None or error.errno in (errno.EPIPE, errno.EIO):
            return None
        return f"the output could not be written ({error.strerror})"


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """A block in which a warning of this project is one line; those of libraries keep their place in the code."""
    library = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        own = "deepseek_lab" in filename
        return f"warning: {message}\n" if own else library(message, category, filename, lineno, line)

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = library


@contextlib.contextmanager
def lasting_terminal(stdout_is_the_result: bool = False) -> Iterator[Terminal]:
    """A block in which printing does no harm.

    stdout_is_the_result: a reader of stdout that leaves ends the process
    """
    _open_what_is_closed()
    if sys.stdin is not None and hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    found = sys.stdout, sys.stderr
    out, err = _channel(sys.stdout, 1, not stdout_is_the_result), _channel(sys.stderr, 2, True)
    sys.stdout, sys.stderr = _stream(out, sys.stdout), _stream(err, sys.stderr)
    try:
        yield Terminal(out)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = found


def _open_what_is_closed() -> None:
    for handle in (0, 1, 2):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8", errors="replace"))  # noqa: SIM115


def _channel(stream: TextIO, handle: int, reader_may_leave: bool) -> _Channel | None:
    """None for a stream that is not the process's own (a test's), which stays."""
    try:
        own = stream.fileno() == handle
    except (OSError, ValueError):
        return None
    if own:
        with contextlib.suppress(OSError):
            stream.flush()
    return _Channel(handle, reader_may_leave) if own else None


def _stream(channel: _Channel | None, found: TextIO) -> TextIO:
    """What takes the place of `found`, buffered as it was."""
    if channel is None:
        return found
    unbuffered = bool(getattr(found, "write_through", False))
    lines = bool(getattr(found, "line_buffering", False))
    below = channel if unbuffered else io.BufferedWriter(channel)
    return io.TextIOWrapper(
        below,
        encoding=found.encoding,
        errors="backslashreplace",
        line_buffering=lines,
        write_through=unbuffered,
    )
