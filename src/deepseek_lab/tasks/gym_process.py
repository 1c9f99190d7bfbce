"""The process that scores answers for `reasoning_gym`, as its user sees it: started late, asked line by line.

Left out: scoring several answers at a time. A score takes milliseconds, most of them for a process of its own.
"""

import json
import select
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

from deepseek_lab.config import ConfigError
from deepseek_lab.tasks.sandbox.runner import SOURCE, SandboxError

_SECONDS_TO_ANSWER = 60.0
"""For one line, the package's own start included; far more than the scorer allows itself."""
_START = f"import sys; sys.path.insert(0, {SOURCE!r}); import deepseek_lab.tasks.gym_scorer as scorer"
_START += "; scorer.main(*sys.argv[1:])"


@dataclass(frozen=True)
class Score:
    """The package's score, or why there is none. `timed_out`: the clock decided."""

    value: float | None = None
    error: str | None = None
    timed_out: bool = False


class ScoringProcess:
    """One data set's scorer."""

    def __init__(self, dataset: str, arguments: dict[str, Any], kind: str) -> None:
        self._words = [dataset, json.dumps(arguments), kind]
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def require_allowed(self) -> None:
        """Scores a first answer. Raises ConfigError when the machine does not allow it."""
        try:
            self.score(0, "?")
        except SandboxError as error:
            raise ConfigError(
                f"cannot be filtered on this machine ({error}); task.scoring=unsafe runs the package's scoring, which "
                "may evaluate what the model wrote, with limits alone",
                "scoring",
            ) from None

    def score(self, index: int, answer: str) -> Score:
        """The score of an answer to one item. Raises SandboxError when the scorer fails, not the answer."""
        with self._lock:
            reply = self._asked(json.dumps({"index": index, "answer": answer}))
        if "failed" in reply:
            raise SandboxError(str(reply["failed"]))
        return Score(reply.get("score"), reply.get("error"), bool(reply.get("timed_out")))

    def _asked(self, line: str) -> dict[str, Any]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line.encode("ascii") + b"\n")
            process.stdin.flush()
            waiting = select.poll()
            waiting.register(process.stdout.fileno(), select.POLLIN)
            reply = process.stdout.readline() if waiting.poll(_SECONDS_TO_ANSWER * 1000) else b""
            answer: dict[str, Any] = json.loads(reply)
        except (OSError, ValueError):
            self.close()
            raise SandboxError("the scorer does not answer") from None
        except BaseException:  # a clock of the caller's: the next question must not get this one's reply
            self.close()
            raise
        return answer

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-B", "-c", _START, *self._words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        return self._process

    def close(self) -> None:
        """Ends the process; the next score starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __del__(self) -> None:
        self.close()
