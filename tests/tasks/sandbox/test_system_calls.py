"""The filter of system calls: read by an interpreter of its language, and put on a real process."""

import json
import os
import platform
import struct
import subprocess
import sys

import pytest

from deepseek_lab.tasks.sandbox.system_calls import filter_program

ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000
CALLS = {  # read, openat, clone, socket, kill, execve, ptrace, mount, setrlimit, unlinkat
    "x86_64": (0xC000003E, 0, 257, (56, 57, 58, 435, 41, 62, 59, 101, 165, 160, 263, 0x40000000)),
    "aarch64": (0xC00000B7, 63, 56, (220, 435, 198, 129, 221, 117, 40, 164, 35)),
}


def verdict(program, architecture, number, flags=0):
    """What the kernel would do: classic BPF with the four instructions that the filter is made of."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, 0, 0, flags, 0, 0, 0)
    place, value = 0, 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("=HBBI", program, 8 * place)
        place += 1
        if code == 0x20:
            (value,) = struct.unpack_from("<I", data, operand)
        elif code == 0x06:
            return operand
        else:
            met = value == operand if code == 0x15 else bool(value & operand)
            place += if_true if met else if_false


@pytest.mark.parametrize("machine", CALLS)
def test_what_the_filter_lets_through(machine):
    architecture, read, openat, others = CALLS[machine]
    program = filter_program(machine)
    assert verdict(program, architecture, read) == ALLOW
    assert verdict(program, architecture, openat, os.O_RDONLY | os.O_CLOEXEC) == ALLOW
    for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
        assert verdict(program, architecture, openat, flag) == REFUSE
    for number in others:
        assert verdict(program, architecture, number) == REFUSE, number
    assert verdict(program, architecture ^ 1, read) == KILL, "another kind of call of the same processor"


def test_a_processor_without_a_table_is_named():
    with pytest.raises(OSError, match="no system-call filter for sparc"):
        filter_program("sparc")


@pytest.mark.skipif(platform.system() != "Linux", reason="a filter of Linux")
def test_it_holds_on_a_process_for_root_too(tmp_path):
    script = f"""
import json, os, signal, socket, threading
from deepseek_lab.tasks.sandbox.system_calls import forbid_others
attempts = {{
    "fork": os.fork, "thread": threading.Thread(target=print).start, "socket": socket.socket,
    "kill": lambda: os.kill(os.getppid(), signal.SIGTERM), "write": lambda: open({str(tmp_path / "a")!r}, "w"),
    "exec": lambda: os.execv("/bin/true", ["true"]), "remove": lambda: os.remove({__file__!r}),
    "read": lambda: open({__file__!r}).read(),
}}
forbid_others()
refused = []
for name, attempt in attempts.items():
    try:
        attempt()
    except (PermissionError, RuntimeError):
        refused.append(name)
print(json.dumps(refused))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == ["fork", "thread", "socket", "kill", "write", "exec", "remove"]
    assert not (tmp_path / "a").exists()
