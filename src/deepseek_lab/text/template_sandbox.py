"""Renders a chat template that came with a checkpoint: in another process, with limits on time, size and memory.

A template is a program of whoever made the checkpoint. The process (`template_worker`) is kept for the next
rendering and killed when it overruns; killing is the only end that no template can talk its way out of.
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_lab.config import DataError

_WORKER = Path(__file__).with_name("template_worker.py")
_BYTES_PER_CHARACTER = 12
"""An escaped character outside the basic plane in json."""
_ENVIRONMENT = ("TZ",)
"""What the process is told: the time zone, in which a template reads the date."""


class TemplateError(DataError):
    """A chat template that cannot be rendered, or that refuses these messages: one line."""


@dataclass(frozen=True, kw_only=True)
class TemplateLimits:
    """Seconds for one rendering, characters that it may write, bytes of memory of its process."""

    seconds: float = 2.0
    characters: int = 2_000_000
    memory: int = 512 * 1024**2


class TemplateSandbox:
    """Renders one template at a time; safe to call from several threads."""

    def __init__(self, limits: TemplateLimits | None = None) -> None:
        self.limits = limits or TemplateLimits()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, template: str, variables: dict[str, Any]) -> str:
        """The text of `template`, given values that json can carry. Raises TemplateError."""
        request = {"template": template, "variables": variables, "max_chars": self.limits.characters}
        with self._lock:
            reply = self._ask(json.dumps(request).encode() + b"\n")
        if "error" in reply:
            raise TemplateError(f"the chat template: {' '.join(str(reply['error']).split())}")
        return str(reply["text"])

    def close(self) -> None:
        """Ends the process; the next rendering starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def __del__(self) -> None:
        self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_WORKER), str(self.limits.memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            )
            if self._ask(b'{"template": "", "variables": {}, "max_chars": 0}\n', seconds=30.0) != {"text": ""}:
                raise TemplateError("the process that renders chat templates does not start")
        return self._process

    def _ask(self, request: bytes, seconds: float | None = None) -> dict[str, Any]:
        """One exchange; a process that is late, talks too much or ends is killed."""
        process = self._process if seconds is not None and self._process is not None else self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(request)
            line = self._line(process.stdout.fileno(), seconds or self.limits.seconds)
            reply = json.loads(line)
            return reply if isinstance(reply, dict) else {"error": "an unreadable reply"}
        except TimeoutError:
            self.close()
            return {"error": f"takes longer than {seconds or self.limits.seconds:g} s"}
        except (OSError, ValueError):
            self.close()
            return {"error": "ended the process that renders it"}

    def _line(self, pipe: int, seconds: float) -> bytes:
        """A line from the process. Raises TimeoutError, and ValueError for one that is too long or cut off."""
        end, room = time.monotonic() + seconds, self.limits.characters * _BYTES_PER_CHARACTER + 1024
        chunks: list[bytes] = []
        while room > 0:
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError
            chunk = os.read(pipe, 1 << 16)
            chunks.append(chunk)
            room -= len(chunk)
            if not chunk or chunk.endswith(b"\n"):
                break
        return b"".join(chunks)
