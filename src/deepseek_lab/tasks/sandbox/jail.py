"""The process that is started for each program: locks itself up, says so, and runs the program.

The first line it writes is `{"ready": true}`, before the program is even read: so a program cannot pretend that the
sandbox had failed. It is started with an empty environment and no descriptors but the job, the results, and
nothing; only the standard library is imported.

    jail <namespaces|unsafe> <seconds of processor time> <bytes of memory>

`unsafe` leaves out the namespaces and, where there is no filter of system calls, that as well.
"""

import contextlib
import json
import os
import resource
import select
import sys
from typing import NoReturn

from deepseek_lab.tasks.sandbox import namespaces, program, system_calls

REFUSED = 3
"""Exit code when the machine does not allow the sandbox."""


def main(kind: str, seconds: str, memory_bytes: str) -> NoReturn:
    """Never returns: ends with the program."""
    try:
        if kind == "namespaces":
            _become_first_process()
        _limit(int(seconds), int(memory_bytes))
        with contextlib.suppress(OSError) if kind == "unsafe" else contextlib.nullcontext():
            system_calls.forbid_others()
    except OSError as error:
        program.write_line({"refused": error.strerror or str(error)})
        os._exit(REFUSED)
    program.write_line({"ready": True})
    program.run(json.loads(program.read_all()), program.write_line)
    os._exit(0)


def _become_first_process() -> None:
    """Returns in the child, the first process of its own world; the parent stays outside and waits for it."""
    folders = namespaces.library_folders()
    namespaces.leave_the_machine()
    watched, held = os.pipe()
    child = os.fork()
    if child:
        os.close(watched)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0x7F)
    os.close(held)
    namespaces.die_with_parent()
    if select.select([watched], [], [], 0)[0]:
        os._exit(REFUSED)  # the parent has gone before it could be watched
    os.close(watched)
    namespaces.see_only(folders)
    namespaces.drop_capabilities()


def _limit(seconds: int, memory_bytes: int) -> None:
    """Limits that a process without rights cannot raise again, root's included."""
    for kind, amount in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (amount, amount))
    sys.path[:] = [path for path in sys.path if path != PROJECT]
    sys.argv[:] = [""]
    os.environ.clear()  # of what Python itself puts in for the locale


PROJECT = sys.path[0]
