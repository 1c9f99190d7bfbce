"""Inside the sandbox: runs a program on inputs and writes down what came out, a line of JSON each.

What is expected is not known here. The program shares this interpreter and may twist everything in it: all
it gains is to have other outputs written down than its own.

Left out: packages that are not Python's own, and what a program writes past `sys.stdout`.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

_LONGEST_COMPLAINT = 200


def run(job: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
    """Calls `entry` of the program with each input, or without one runs it whole with the input as its stdin."""
    if job["entry"] is None:
        for text in job["inputs"]:
            report(_attempted(partial(_printed, job["program"], text)))
        return
    names: dict[str, Any] = {"__name__": "program"}
    loaded = _attempted(partial(_execute, job["program"], names))
    for arguments in job["inputs"]:
        report(loaded if "error" in loaded else _attempted(partial(_call, names, job["entry"], arguments)))


def _execute(program: str, names: dict[str, Any]) -> None:
    exec(compile(program, "program", "exec"), names)


def _call(names: dict[str, Any], entry: str, arguments: Sequence[Any]) -> Any:
    if entry not in names:
        raise NameError(f"there is no {entry}")
    return names[entry](*arguments)


def _attempted(what: Callable[[], Any]) -> dict[str, Any]:
    """The value, or the error in a line. What a program prints on the way is dropped."""
    sys.stdout = sys.stderr = io.StringIO()
    try:
        value = what()
        json.dumps(value)
        return {"value": value}
    except BaseException as error:  # of all kinds, also exits
        return {"error": f"{type(error).__name__}: {_message(error)}"[:_LONGEST_COMPLAINT]}


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        return ""


def _printed(program: str, text: str) -> str:
    sys.stdin, sys.stdout = io.StringIO(text), io.StringIO()
    out = sys.stdout
    try:
        _execute(program, {"__name__": "__main__"})
    except SystemExit as stop:
        if stop.code not in (None, 0):
            raise
    return out.getvalue()


def write_line(fields: dict[str, Any]) -> None:
    """To descriptor 1, whatever `sys.stdout` is."""
    data = (json.dumps(fields) + "\n").encode()
    while data:
        data = data[os.write(1, data) :]


def read_all() -> bytes:
    """Descriptor 0 to its end."""
    pieces: Sequence[bytes] = list(iter(lambda: os.read(0, 1 << 16), b""))
    return b"".join(pieces)
