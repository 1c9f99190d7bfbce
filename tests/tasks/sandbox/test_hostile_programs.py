"""Programs that mean harm: each is scored or refused in bounded time, and nothing outside is touched.

What reaches for processes, files or the network is tried in namespaces and without them, where the filter of system
calls alone holds; tricks with the verdict are tried once.
"""

import contextlib
import json
import os
import socket
import time
from pathlib import Path

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.tasks.code import Code
from deepseek_lab.tasks.code_problems import CodeExample
from deepseek_lab.tasks.sandbox.runner import Outcome, Sandbox

LIMITS = {"cpu_seconds": 1, "wall_seconds": 30.0, "memory_bytes": 256 * 2**20}  # a busy machine spreads its second


def built(kind):
    return Code.Config(sandbox=kind, processes=1, **LIMITS).build()


@pytest.fixture(scope="module")
def task():
    """With namespaces where the machine allows them."""
    try:
        return built("namespaces")
    except ConfigError:
        return built("unsafe")


@pytest.fixture(scope="module", params=["namespaces", "unsafe"])
def sandbox(request):
    """Both kinds."""
    try:
        return built(request.param)._sandbox
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture
def outside(tmp_path):
    """Files that must stay as they are."""
    (tmp_path / "kept").write_text("kept")
    return tmp_path


def judged(task, program, tests=((([1], 2)),)):
    example = CodeExample(question="q", answer="", entry="f", tests=tuple(tests))
    before, start = children(), time.monotonic()
    (reward,) = task.rewards([example], [f"<answer>{program}</answer>"])
    assert time.monotonic() - start < 40
    assert children() <= before
    return reward


def children():
    """Processes that this one has started, other tests' too."""
    found: set[str] = set()
    for path in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found |= set(path.read_text().split())
    return found


@pytest.mark.parametrize(
    "program",
    [
        "",
        "f = f",
        "import os\nos._exit(0)",
        "raise SystemExit(0)",
        "exit()",
        "raise BaseException",
        "print('PASS')\nprint('{\"value\": 2}')",
        "def f(x):\n    print('PASS')\n    return True",
        "class A:\n    def __eq__(self, other): return True\n    __hash__ = None\nf = lambda x: A()",
        "class A(int):\n    def __eq__(self, other): return True\nf = lambda x: A(7)",
        "class A(str):\n    def __eq__(self, other): return True\nf = lambda x: A('2')",
        "import json\njson.dumps = lambda *a, **k: '{\"value\": 3}'",
        "import builtins\nbuiltins.exec = builtins.compile = None",
        "(" * 5_000 + ")" * 4_900,
        "x = " + "(" * 3_000,
        "x = " + "-" * 9_000 + "1",
        "def f(x): return f(x)",
        "é = '\N{SNOWMAN}\U0001f600\u202e'\nf = lambda x: é * 100",
        "\ud800",
        "\0",
        "f = lambda x: '\\ud800'",
        "f = lambda x: float('nan')",
        "def f(x):\n    a = []\n    a.append(a)\n    return a",
        "def f(x):\n    a = []\n    for _ in range(100000):\n        a = [a]\n    return a",
        "f = lambda x: 10 ** 100000",
        "import ctypes\nctypes.string_at(0)",
        "import os\nos.abort()",
        "import sys\nf = lambda x: sorted(sys._getframe(3).f_locals['job'])",
        'import os\nos.write(1, b\'{"value": 3}\\n{"value": 2}\\n\')\nos._exit(0)',
        "import os\nos.write(1, b'{\"refused\": 1}\\n')\nos._exit(3)",
        "import os\nos.close(1)\nf = lambda x: 2",
        "import os\nos.write(1, b'[' * 60000 + b'\\n')\nos._exit(0)",
        "import os\nos.write(1, b'\\xff\\xfe\\n')\nos._exit(0)",
    ],
)
def test_tricks_earn_nothing(task, program):
    reward = judged(task, program)
    assert reward.total == 0.0
    assert reward.parts["correct"] == 0.0
    assert reward.failure is None or "\n" not in reward.failure


def test_that_an_honest_program_is_right_here(task):
    assert judged(task, "f = lambda x: x + 1").total == 1.0


@pytest.mark.parametrize(
    ("program", "ending"),
    [
        ("while True: pass", "took too much processor time"),
        ("import signal\nfor s in {1, 2, 15, 24}: signal.signal(s, lambda *_: 0)\nwhile True: pass",
         "took too much processor time"),
        ("import os\nwhile True: os.write(1, b'x' * 10**6)", "wrote too much"),
        ("f = lambda x: 'x' * 10**6", "wrote too much"),
    ],
)  # fmt: skip
def test_what_does_not_end_is_ended(task, program, ending):
    reward = judged(task, program)
    assert (reward.total, reward.failure) == (0.0, ending)
    assert reward.reproducible


def test_what_only_waits_is_ended_by_the_clock():
    task = Code.Config(sandbox="unsafe", processes=1, cpu_seconds=1, wall_seconds=1.0).build()
    reward = judged(task, "import time\nwhile True:\n    try: time.sleep(100)\n    except BaseException: pass")
    assert (reward.total, reward.failure, reward.reproducible) == (0.0, "timed out", False)


@pytest.mark.parametrize(
    "program",
    [
        "x = 'x' * 10**10",
        "x = []\nwhile True: x.append(bytes(10**7))",
        "import mmap\nx = mmap.mmap(-1, 10**10)",
        "while True: print('x' * 10**7)",
        "f = lambda x: 10 ** 10 ** 9",
    ],
)
def test_memory_is_bounded(task, program):
    reward = judged(task, program)
    assert reward.total == 0.0
    assert reward.failure.startswith(("MemoryError", "OSError", "took too much", "ended early", "timed out"))


def outcome_of(sandbox, program):
    """What `f(0)` returns; the class of the error where there is one."""
    before, start = children(), time.monotonic()
    (outcome,) = sandbox.outcomes(program, "f", [[0]])
    assert time.monotonic() - start < 40
    assert children() <= before
    return outcome.error.split(":")[0] if outcome.error else outcome.value


@pytest.mark.parametrize(
    "program",
    [
        "import os\nwhile True: os.fork()",
        "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True: pass",
        "import os\n__import__('os').posix_spawn('/bin/true', ['true'], {})",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.execv('/bin/true', ['true'])",
        "import socket\nsocket.socket()",
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.killpg(0, 9)",
        "import os\nos.setsid()",
        "import os\nos.kill(1, 9)",
    ],
)
def test_no_process_socket_or_signal_is_to_be_had(sandbox, program):
    assert outcome_of(sandbox, program) in ("PermissionError", "OSError", "FileNotFoundError")


def test_no_thread_either(sandbox):
    assert outcome_of(sandbox, "import threading\nthreading.Thread(target=print).start()") == "RuntimeError"


def test_no_one_listens_at_127_0_0_1(sandbox):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        program = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)"
        assert outcome_of(sandbox, program) in ("PermissionError", "OSError")
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    "attempt",
    ["open(p + '/new', 'w')", "open(p + '/kept', 'a')", "os.remove(p + '/kept')", "os.mkdir(p + '/new')",
     "os.rename(p + '/kept', p + '/new')", "os.chmod(p, 0)", "os.symlink(p, p + '/new')", "os.truncate(p + '/kept', 0)",
     "__import__('os').system('touch ' + p + '/new')", "shutil.rmtree(p)", "os.open(p, os.O_TMPFILE | os.O_RDWR)"],
)  # fmt: skip
def test_no_file_is_written(sandbox, outside, attempt):
    said = outcome_of(sandbox, f"import os, shutil\np = {str(outside)!r}\nf = lambda x: {attempt}")
    assert said in ("PermissionError", "OSError", "FileNotFoundError", 127 << 8)
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"


def test_limits_cannot_be_raised(sandbox):
    program = "import resource as r\nr.setrlimit(r.RLIMIT_AS, (r.RLIM_INFINITY, r.RLIM_INFINITY))"
    assert outcome_of(sandbox, program) in ("PermissionError", "ValueError")


def test_the_environment_is_empty_and_every_descriptor_closed(sandbox, monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET", "told")
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        program = (
            "import os\ndef is_open(n):\n    try: os.fstat(n)\n    except OSError: return False\n    return True\n"
            "f = lambda x: [dict(os.environ), [n for n in range(200) if is_open(n)], os.getcwd()]"
        )
        assert outcome_of(sandbox, program) == [{}, [0, 1, 2], "/"]


def test_expected_outputs_never_enter(task, monkeypatch):
    seen = []

    def record(self, job):
        seen.append(json.loads(job))
        return b'{"ready": true}\n', "ended early"

    monkeypatch.setattr(Sandbox, "_written", record)
    judged(task, "f = lambda x: 123454321", [([1], 123454321 + 1)])
    assert seen == [{"program": "f = lambda x: 123454321", "entry": "f", "inputs": [[1]]}]


def test_what_was_put_out_before_the_end_counts_for_its_inputs_alone(sandbox):
    program = "import os\ndef f(x):\n    if x == 2: os._exit(0)\n    return x"
    first, second, third = sandbox.outcomes(program, "f", [[1], [2], [3]])
    assert first == Outcome(value=1)
    assert second.error == third.error == "ended early, code 0"


class TestNamespacesAlone:
    """What holds in namespaces alone."""

    @pytest.fixture(autouse=True)
    def _only_with_namespaces(self, sandbox):
        if sandbox.config.kind != "namespaces":
            pytest.skip("without namespaces files can be read")

    def test_the_parents_environment_and_files_are_out_of_sight(self, sandbox, outside):
        for path in (f"/proc/{os.getpid()}/environ", "/proc/self/environ", "/etc/passwd", outside / "kept", __file__):
            assert outcome_of(sandbox, f"f = lambda x: open({str(path)!r}).read()") == "FileNotFoundError"
        assert outcome_of(sandbox, "import os\nf = lambda x: os.getpid()") == 1


def test_a_machine_without_namespaces_refuses_and_names_the_way_without(monkeypatch):
    written = b'{"refused": "unshare: Operation not permitted"}\n'
    monkeypatch.setattr(Sandbox, "_written", lambda self, job: (written, "ended early"))
    with pytest.raises(ConfigError) as error:
        Code.Config().build()
    assert "sandbox cannot be namespaces on this machine (unshare: Operation not permitted)" in str(error.value)
    assert "sandbox=unsafe" in str(error.value)


def test_a_python_that_does_not_start_is_a_failure_of_the_sandbox(monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ConfigError, match="it did not start"):
        Sandbox.Config().build()
