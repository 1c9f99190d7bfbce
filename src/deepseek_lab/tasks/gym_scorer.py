"""The process that scores answers with `reasoning-gym`, whose functions may evaluate what a model wrote.

It never scores itself: for each answer it forks a child that gives up its rights (`system_calls`), scores, writes
one line and ends. What an answer does to a child is gone with the child. A child's line must begin with a word
drawn after the answer was read, so that an answer that writes a line itself is found out.

    gym_scorer <data set> <its config as JSON> <filtered|unsafe>      {"index": 3, "answer": "…"} a line
"""

import contextlib
import importlib
import json
import os
import resource
import secrets
import select
import signal
import sys
import time
from typing import Any, NoReturn

from deepseek_lab.tasks.sandbox import system_calls

_CPU_SECONDS, _WALL_SECONDS, _MEMORY_BYTES = 3, 6.0, 4 * 2**30
_LONGEST_LINE = 1_000


def main(name: str, arguments: str, kind: str) -> None:
    """Answers line by line until its input ends."""
    gym = importlib.import_module("reasoning_gym")
    items = gym.create_dataset(name, **json.loads(arguments))
    for line in sys.stdin:
        job = json.loads(line)
        sys.stdout.write(json.dumps(_scored_apart(items, job, kind)) + "\n")
        sys.stdout.flush()


def _scored_apart(items: Any, job: dict[str, Any], kind: str) -> dict[str, Any]:
    entry, word = items[job["index"]], secrets.token_hex(8)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _score(items, entry, job["answer"], writing, word, kind)
    os.close(writing)
    try:
        line, timed_out = _line_from(reading)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return _reply(line, word) if not timed_out else {"error": "timed out", "timed_out": True}


def _score(items: Any, entry: dict[str, Any], answer: str, writing: int, word: str, kind: str) -> NoReturn:
    """In the child."""
    for number in (0, 1, 2):
        os.close(number)
    try:
        _give_up_rights(kind)
        try:
            line = f"{word} {float(items.score_answer(answer, entry))}"
        except BaseException as error:  # whatever an answer brings about
            line = f"{word} {type(error).__name__}"
    except OSError as error:
        line = f"{word} failed {error.strerror or error}"
    os.write(writing, line.encode()[:_LONGEST_LINE])
    os._exit(0)


def _give_up_rights(kind: str) -> None:
    limits = ((resource.RLIMIT_CPU, _CPU_SECONDS), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0))
    for which, amount in (*limits, (resource.RLIMIT_AS, _MEMORY_BYTES)):
        resource.setrlimit(which, (amount, amount))
    with contextlib.suppress(OSError) if kind == "unsafe" else contextlib.nullcontext():
        system_calls.forbid_others()


def _line_from(reading: int) -> tuple[bytes, bool]:
    """What the child wrote, and whether it took too long."""
    deadline, line = time.monotonic() + _WALL_SECONDS, b""
    while (left := deadline - time.monotonic()) > 0 and select.select([reading], [], [], left)[0]:
        piece = os.read(reading, _LONGEST_LINE)
        line += piece
        if not piece or len(line) > _LONGEST_LINE:
            return line, False
    return line, True


def _reply(line: bytes, word: str) -> dict[str, Any]:
    first, _, rest = line.decode("utf-8", "replace").partition(" ")
    if first != word:
        return {"error": "no score came of this answer"}
    if rest.startswith("failed "):
        return {"failed": rest.removeprefix("failed ")}
    try:
        return {"score": float(rest)}
    except ValueError:
        return {"error": f"{rest} while scoring"}
