"""Who may ask: the key, its places, what it leaves no trace of, and clients that keep the server waiting."""

import socket
import subprocess
import sys
import time

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.serving.access import KEY_VARIABLE, Key, access, is_loopback, read_key
from serving.live import ROOT, LiveServer

SECRET = "correct-horse-battery-staple"


def test_the_key_comes_from_the_environment_or_a_file(monkeypatch, tmp_path):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert read_key(None) is None
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    assert read_key(None).matches(SECRET.encode())
    file = tmp_path / "key"
    file.write_text(f"another-{SECRET}\nnothing of this\n")
    key = read_key(str(file))
    assert key.matches(f"another-{SECRET}".encode())
    assert not key.matches(SECRET.encode())
    assert not key.matches(b"")


@pytest.mark.parametrize("secret", ["short", "x" * 15, "with some space in", "ünprintable-äöü-key"])
def test_bad_keys_are_refused_without_being_shown(monkeypatch, secret):
    monkeypatch.setenv(KEY_VARIABLE, secret)
    with pytest.raises(ConfigError, match="16 printable") as error:
        read_key(None)
    assert secret not in str(error.value)


def test_a_key_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="key_file cannot be read"):
        read_key(str(tmp_path / "none"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UnicodeDecodeError"):
        read_key(str(tmp_path / "binary"))


def test_a_key_shows_nothing_of_itself():
    key = Key(SECRET)
    assert SECRET not in repr(key) + str(key) + repr(vars(key))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_what_others_can_reach_needs_a_key(host, loopback):
    assert is_loopback(host) == loopback
    if not loopback:
        with pytest.raises(ConfigError, match=f"host ={host} can be reached by others: set {KEY_VARIABLE}"):
            access(host, ["my.host"], None)
        with pytest.raises(ConfigError, match="allowed_hosts"):
            access(host, [], Key(SECRET))
    assert "my.host" in access(host, ["My.Host"], Key(SECRET)).hosts


def refused(*overrides):
    """The lines that a start which fails prints, and nothing of torch is needed for them."""
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), "checkpoint=none", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_start_that_fails_says_one_line(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    (line,) = refused("host=0.0.0.0")
    assert line.startswith("error: host =0.0.0.0 can be reached by others")
    (line,) = refused(f"api_key={SECRET}")
    assert "api_key" in line
    assert SECRET not in line


@pytest.fixture(scope="module")
def locked(talker):
    made = LiveServer(talker, "limits.idle_seconds=1", "limits.queue=2", key=SECRET)
    yield made
    log = made.close()
    assert SECRET not in log
    assert "Traceback" not in log, log


@pytest.mark.parametrize(
    "offered", ["", "Bearer", "Bearer ", f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}", f"Basic {SECRET}", SECRET]
)
def test_without_the_key_nothing_of_the_model_is_told(locked, offered):
    for path, body in (
        ("/v1/models", None),
        ("/v1/completions", {"model": locked.name, "prompt": "x"}),
        ("/health", None),
    ):
        status, _, answer = locked.ask(path, body, headers={"Authorization": offered})
        assert status == 401
        assert locked.name not in str(answer)
        assert SECRET not in str(answer)


def test_with_the_key_it_answers_and_the_page_opens_for_everybody(locked):
    assert locked.ask("/v1/models")[0] == 200
    assert locked.ask("/v1/models", headers={"Authorization": f"bearer {SECRET}"})[0] == 200
    assert locked.ask("/", headers={"Authorization": ""})[0] == 200


def closed_after(connection, limit=15):
    """Seconds until the server closes the connection."""
    start = time.monotonic()
    connection.settimeout(limit)
    while connection.recv(65536):
        pass
    return time.monotonic() - start


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + SECRET.encode() + b"\r\nContent-Length: 100\r\n\r\n{",
    ],
    ids=["nothing", "half a head", "half a body"],
)
def test_a_client_that_keeps_it_waiting_is_let_go(locked, begun):
    with socket.create_connection(("127.0.0.1", locked.port)) as connection:
        connection.sendall(begun)
        closed_after(connection)


def test_more_requests_than_the_queue_holds_are_told_to_come_again(locked):
    body = {"model": locked.name, "prompt": ["a", "b", "c"], "max_tokens": 2}
    status, headers, answer = locked.ask("/v1/completions", body)
    assert status == 429
    assert headers["retry-after"] == "1"
    assert answer["error"]["code"] == "queue_full"
    assert locked.ask("/v1/completions", {**body, "prompt": ["a", "b"]})[0] == 200
