"""Keeps the memory that tensors let go for the next ones, instead of handing it back to the system.

glibc returns large blocks at once and asks for them again at the next operation; the system then zeroes them page
by page. A training step allocates the same blocks over and over, and spends a twentieth of its time there on two
cores, more where operations are small. CUDA has torch's own allocator and is not concerned.

Left out: other C libraries, which ignore this; replacing the allocator.
"""

import contextlib
import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
"""Names of mallopt's settings in glibc's malloc.h."""

_NEVER = 2**31 - 1
_ROOM = 64 * 2**20
"""Bytes asked for at once when the heap grows."""


_SETTLED = ((_MMAP_MAX, 65536), (_MMAP_THRESHOLD, 2**25), (_TRIM_THRESHOLD, 2**26), (_TOP_PAD, 2**17))
"""Where glibc's own settings, which move with what is freed, come to rest in a process that frees large blocks."""


def keep_freed_memory() -> bool:
    """Sets it for this process; whether the C library took it."""
    return _set((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _ROOM))


def return_freed_memory() -> bool:
    """The C library's own way, for a process that may have kept it: what a program gets that asks for nothing."""
    return _set(*_SETTLED)


def _set(*settings: tuple[int, int]) -> bool:
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return all(mallopt(name, value) for name, value in settings)
    return False
