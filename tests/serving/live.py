"""A server as a person starts it, in a process of its own, and a bare HTTP client that may be rude."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class LiveServer:
    """`scripts/serve.py` on a free port."""

    def __init__(self, run, *overrides, key=None, **variables):
        environment = {name: value for name, value in os.environ.items() if name != "DEEPSEEK_LAB_API_KEY"}
        self.key = key
        command = [sys.executable, str(ROOT / "scripts" / "serve.py"), f"checkpoint={run}", "port=0", "n_threads=1"]
        self.process = subprocess.Popen(
            [*command, *overrides],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**environment, **variables, **({"DEEPSEEK_LAB_API_KEY": key} if key else {})},
        )
        self.lines = [self.process.stdout.readline()]
        self.name = self.lines[0].split(" ")[0]
        self.port = int(re.search(r"http://\S+?:(\d+) ", self.lines[0]).group(1))
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self._reader.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def memory(self):
        """Resident bytes of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def ask(self, path, body=None, method=None, headers=(), raw=None):
        """-> status, headers, the body as json or text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
        given = {"Content-Type": "application/json"} if data is not None else {}
        given |= {"Authorization": f"Bearer {self.key}"} if self.key else {}
        with contextlib.closing(connection):
            connection.request(
                method or ("POST" if data is not None else "GET"), path, data, {**given, **dict(headers)}
            )
            response = connection.getresponse()
            text = response.read().decode()
            with contextlib.suppress(ValueError):
                text = json.loads(text)
            return response.status, dict(response.getheaders()), text

    def chat(self, text="hi", **fields):
        """The status and the body of a conversation's answer."""
        question = {"model": self.name, "messages": [{"role": "user", "content": text}], "max_tokens": 8, **fields}
        status, _, answer = self.ask("/v1/chat/completions", question)
        return status, answer

    def idle(self, seconds=20):
        """Whether no request is left, and no cache, within `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            _, _, health = self.ask("/health")
            if health["requests"] == 0 and health["cache_bytes"] == 0:
                return True
            time.sleep(0.05)
        return False

    def close(self):
        """Ends it -> all it has printed."""
        self.process.terminate()
        self.process.wait(timeout=30)
        self._reader.join(timeout=10)
        return "".join(self.lines)
