"""Which system calls a program in the sandbox may make: those of one thread that calculates, reads and answers.

A filter of the kernel (seccomp) lets the listed ones through and refuses every other one with EPERM. It holds
for root, too: no process or thread is started (fork bombs), no socket opened, no signal sent, no file opened
for writing, whatever the user's rights or limits are.

Left out: other processors than x86-64 and 64-bit ARM, on which there is no sandbox.
"""

import ctypes
import os
import platform
import struct

_ALLOWED = {
    "read": (0, 63), "readv": (19, 65), "pread64": (17, 67), "write": (1, 64), "writev": (20, 66), "close": (3, 57),
    "lseek": (8, 62), "fstat": (5, 80), "newfstatat": (262, 79), "stat": (4, None), "lstat": (6, None),
    "statx": (332, 291), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61), "getcwd": (79, 17),
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128), "futex": (202, 98), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173),
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "getrusage": (98, 165), "times": (100, 153), "uname": (63, 160), "sysinfo": (99, 179), "getrandom": (318, 278),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "nanosleep": (35, 101),
    "gettimeofday": (96, 169), "time": (201, None), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
"""Numbers on x86-64 and on 64-bit ARM (Linux's asm/unistd_64.h and asm-generic/unistd.h)."""
_OPENAT = (257, 56)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the table, and AUDIT_ARCH_* of linux/audit.h."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PERMISSION_DENIED = 1

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JSET|K, BPF_RET|K
_NUMBER, _ARCHITECTURE, _THIRD_ARGUMENT = 0, 4, 32  # places in struct seccomp_data, little-endian
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | _PERMISSION_DENIED, 0x80000000
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER_MODE = 38, 22, 2


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One struct sock_filter."""
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def filter_program(machine: str) -> bytes:
    """The filter for a processor as `platform.machine()` names it. Raises OSError for one that is not known."""
    if machine not in _ARCHITECTURES:
        raise OSError(f"no system-call filter for {machine}")
    column, architecture = _ARCHITECTURES[machine]
    program = _instruction(_LOAD, _ARCHITECTURE) + _instruction(_EQUAL, architecture, 1, 0)
    program += _instruction(_RETURN, _KILL) + _instruction(_LOAD, _NUMBER)
    for numbers in _ALLOWED.values():
        number = numbers[column]
        if number is not None:
            program += _instruction(_EQUAL, number, 0, 1) + _instruction(_RETURN, _ALLOW)
    program += _instruction(_EQUAL, _OPENAT[column], 1, 0) + _instruction(_RETURN, _REFUSE)
    program += _instruction(_LOAD, _THIRD_ARGUMENT) + _instruction(_ANY_BIT, _WRITING, 0, 1)
    return program + _instruction(_RETURN, _REFUSE) + _instruction(_RETURN, _ALLOW)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid_others() -> None:
    """Puts the filter on this process for good. Raises OSError where the kernel has none."""
    code = filter_program(platform.machine())
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER_MODE, ctypes.byref(program), 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")
