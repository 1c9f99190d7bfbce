"""Runs a program in a process of its own and hands back what it put out, within bounds of time, memory and output.

Outputs come back to be compared; what is expected never goes in. A machine that does not allow the sandbox is
an error that names the way without it, never a quiet fall-back.

Left out: running programs on other machines, and other languages than Python.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import deepseek_lab
from deepseek_lab.config import CheckedConfig, ConfigError

SOURCE = str(Path(deepseek_lab.__file__).parents[1])
_START = f"import sys; sys.path.insert(0, {SOURCE!r}); import deepseek_lab.tasks.sandbox.jail as jail"
_START += "; jail.main(*sys.argv[1:])"


class SandboxError(RuntimeError):
    """The sandbox itself failed, which says nothing about the program."""


@dataclass(frozen=True)
class Outcome:
    """What became of one input: a value, or why there is none. `timed_out`: the clock decided, not the program."""

    value: Any = None
    error: str | None = None
    timed_out: bool = False


class Sandbox:
    """`Sandbox.Config(...).build()`; `outcomes` may be called from several threads at a time."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """kind: `unsafe` runs programs as this user with no more than limits, where namespaces are not allowed.

        cpu_seconds, memory_bytes: of a program with all its inputs; wall_seconds: until it is stopped, come what
        may; output_bytes: of all its outputs together
        """

        kind: Literal["namespaces", "unsafe"] = "namespaces"
        cpu_seconds: int = 2
        wall_seconds: float = 10.0
        memory_bytes: int = 512 * 2**20
        output_bytes: int = 2**16

        def check(self) -> None:
            self.require_positive("cpu_seconds", "output_bytes")
            if self.wall_seconds <= 0:
                raise ConfigError(f"must be above 0, not {self.wall_seconds}", "wall_seconds")
            if self.memory_bytes < 2**26:
                raise ConfigError(
                    f"must be at least {2**26} (Python's own need), not {self.memory_bytes}", "memory_bytes"
                )

        def build(self) -> "Sandbox":
            """Raises ConfigError when this machine does not allow it."""
            sandbox = Sandbox(self)
            sandbox.require_allowed()
            return sandbox

    def __init__(self, config: Config) -> None:
        self.config = config

    def require_allowed(self) -> None:
        """Runs a first program. Raises ConfigError when it does not come through."""
        try:
            first = self.outcomes("def f(a):\n    return a + 1", "f", [[1]])[0]
        except SandboxError as error:
            raise ConfigError(
                f"cannot be {self.config.kind} on this machine ({error}); "
                "task.sandbox=unsafe runs code with limits alone",
                "sandbox",
            ) from None
        if first.value != 2:
            raise ConfigError(f"fails at 1 + 1: {first.error}", "sandbox")

    def outcomes(self, program: str, entry: str | None, inputs: Sequence[Any]) -> list[Outcome]:
        """One outcome an input. With `entry` inputs are lists of its arguments, else texts for stdin.

        Raises SandboxError when the sandbox did not come about.
        """
        job = json.dumps({"program": program, "entry": entry, "inputs": list(inputs)})
        written, ended = self._written(job.encode("ascii"))
        first, _, rest = written.partition(b"\n")
        if first != b'{"ready": true}':
            raise SandboxError(_refusal(first) if first else f"it did not start ({ended})")
        return _read(rest, len(inputs), ended)

    def _written(self, job: bytes) -> tuple[bytes, str]:
        """All that the process put out, as far as it is allowed to, and how it ended."""
        with tempfile.TemporaryFile() as stdin:
            stdin.write(job)
            stdin.seek(0)
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", _START, *self._arguments()],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        try:
            return self._collected(process)
        finally:
            _kill(process)

    def _arguments(self) -> list[str]:
        return [self.config.kind, str(self.config.cpu_seconds), str(self.config.memory_bytes)]

    def _collected(self, process: "subprocess.Popen[bytes]") -> tuple[bytes, str]:
        assert process.stdout is not None
        deadline, written, out = time.monotonic() + self.config.wall_seconds, bytearray(), process.stdout.fileno()
        waiting = select.poll()
        waiting.register(out, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            if not waiting.poll(left * 1000):
                break
            piece = os.read(out, 1 << 16)
            written += piece
            if not piece:
                return bytes(written), _ending(process, deadline)
            if len(written) > self.config.output_bytes:
                return bytes(written[: self.config.output_bytes]), "wrote too much"
        return bytes(written), "timed out"


def _ending(process: "subprocess.Popen[bytes]", deadline: float) -> str:
    """How a process that has closed its output ended."""
    try:
        code = process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        return "timed out"
    killed = code in (-signal.SIGKILL, -signal.SIGXCPU, (-signal.SIGKILL) & 0x7F)
    return "took too much processor time" if killed else f"ended early, code {code}"


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """The process and whoever it left behind in its session."""
    with_group = process.poll() is None
    try:
        if with_group:
            os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _refusal(line: bytes) -> str:
    try:
        return str(json.loads(line)["refused"])
    except (ValueError, KeyError, TypeError):
        return "it did not start"


def _read(written: bytes, n_inputs: int, ended: str) -> list[Outcome]:
    """The outcomes that were written down; for the rest, why there is none."""
    lines = written.split(b"\n")[:-1]
    if len(lines) > n_inputs:
        return [Outcome(error="wrote more outcomes than there are inputs")] * n_inputs
    missing = Outcome(error=ended, timed_out=ended == "timed out")
    return [_outcome(line) for line in lines] + [missing] * (n_inputs - len(lines))


def _outcome(line: bytes) -> Outcome:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return Outcome(error="wrote no outcome")
    if not isinstance(fields, dict) or len(fields) != 1:
        return Outcome(error="wrote no outcome")
    if "value" in fields:
        return Outcome(value=fields["value"])
    return Outcome(error=str(fields.get("error"))[:200])
