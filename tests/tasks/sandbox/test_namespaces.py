"""The process's own world, without the filter of system calls before it: each of the two walls stands alone."""

import json
import os
import socket
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, json, os, socket, sys
from deepseek_lab.tasks.sandbox import jail
parent, port = map(int, sys.argv[1:])

def why(attempt):
    try:
        return str(attempt())
    except OSError as error:
        return type(error).__name__

jail._become_first_process()
write_library = lambda: open(os.__file__ + ".new", "w")
print(json.dumps({
    "pid": os.getpid(), "user": os.getuid(), "root": sorted(os.listdir("/")),
    "environ": why(lambda: open(f"/proc/{parent}/environ")), "kill": why(lambda: os.kill(parent, 0)),
    "connect": why(lambda: socket.create_connection(("127.0.0.1", port), 2)),
    "write": why(lambda: open("/here", "w")), "write_library": why(write_library),
    "read": why(lambda: open(os.__file__)),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "mount": ctypes.CDLL(None).mount(b"none", b"/usr", b"tmpfs", 0, None),
}))
"""


@pytest.fixture(scope="module")
def seen():
    """What a process of its own world reports of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = [str(os.getpid()), str(server.getsockname()[1])]
        done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=60)
        if "OSError" in done.stderr or "PermissionError" in done.stderr:
            pytest.skip(f"no namespaces here: {done.stderr.splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def test_other_processes_are_out_of_sight(seen):
    assert seen["pid"] == 1
    assert seen["user"] == 65534
    assert seen["kill"] == "ProcessLookupError"
    assert seen["environ"] == "FileNotFoundError"


def test_there_is_no_network(seen):
    assert seen["connect"] == "OSError"
    assert seen["interfaces"] == ["lo"]


def test_files_are_pythons_own_and_not_to_be_written(seen):
    assert {"proc", "dev", "home", "etc", "tmp", "var"}.isdisjoint(seen["root"])
    assert seen["write"] == "OSError", "read-only file system"
    assert seen["write_library"] == "OSError"
    assert "TextIOWrapper" in seen["read"]


def test_no_right_is_left_to_change_that(seen):
    assert seen["mount"] == -1
