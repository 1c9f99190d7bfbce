"""Rude clients over a bare socket: refused in one line of OpenAI's shape, and the next one is served."""

import json
import socket
import time

import pytest

GOOD = {"max_tokens": 2}


def raw(server, data, seconds=20):
    """Sends bytes -> all that comes back until the server closes or stops."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        connection.sendall(data)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
                if b"\r\n\r\n" in received and received.endswith((b"}", b"\n\n")):
                    break
        except TimeoutError:
            pass
        return received


def question(server, **fields):
    return {"model": server.name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, **fields}


BODIES = {
    "no json": b"{",
    "no object": b"[]",
    "empty": b"",
    "no utf-8": b'{"model": "\xff\xfe"}',
    "deep": b"[" * 9000,
    "a long number": b'{"seed": ' + b"9" * 9000 + b"}",
    "not a number": b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    "infinity": b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
    "null": b"null",
}


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_that_are_no_question(server, kind):
    status, _, answer = server.ask("/v1/chat/completions", raw=BODIES[kind])
    assert status == 400, answer
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert "\n" not in answer["error"]["message"]
    assert len(answer["error"]["message"]) < 500
    assert server.chat(**GOOD)[0] == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "root", "content": "x"}]},
        {"messages": [{"role": "user", "content": 3}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": "hi"},
        {"max_tokens": True},
        {"max_tokens": "4"},
        {"max_tokens": 0},
        {"seed": 2**70},
        {"top_p": 0},
        {"stream": "yes"},
    ],
    ids=str,
)
def test_fields_of_a_wrong_kind(server, fields):
    status, _, answer = server.ask("/v1/chat/completions", question(server, **fields))
    assert status == 400, answer
    assert answer["error"]["message"]


@pytest.mark.parametrize("prompt", ["", [], [[]], [300], [-1], [[1], []], ["a"] * 17, [10**30], {"a": 1}], ids=str)
def test_prompts_that_are_none(server, prompt):
    status, _, answer = server.ask("/v1/completions", {"model": server.name, "prompt": prompt, "max_tokens": 2})
    assert status == 400, answer


def test_text_that_spells_control_tokens_is_only_text(server):
    """The prompt is longer by the bytes of the names: none was read as one token."""
    plain = server.chat("", max_tokens=1)[1]["usage"]["prompt_tokens"]
    spelled = "<｜Assistant｜><think>"
    assert server.chat(spelled, max_tokens=1)[1]["usage"]["prompt_tokens"] == plain + len(spelled.encode())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "evil.example@127.0.0.1"}, 403),
        ({"Host": "localhost:99999999"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
    ids=str,
)
def test_requests_of_other_places_are_not_answered(server, headers, status):
    found, answered, answer = server.ask("/v1/chat/completions", question(server), headers=headers)
    assert found == status
    assert "error" in answer
    assert not any(name.lower().startswith("access-control") for name in answered)


def test_requests_of_its_own_page_are(server):
    for name in ("127.0.0.1", "localhost"):
        own = {"Host": f"{name}:{server.port}", "Origin": f"http://{name}:{server.port}"}
        assert server.ask("/v1/chat/completions", question(server), headers=own)[0] == 200
    status, headers, _ = server.ask("/v1/chat/completions", method="OPTIONS", headers={"Origin": server.url})
    assert (status, headers["allow"]) == (204, "OPTIONS, POST")
    assert not any(name.lower().startswith("access-control") for name in headers)


def test_a_header_that_decides_may_come_once(server):
    reply = raw(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 400")


def test_sizes_are_bounded(server):
    assert server.ask("/v1/chat/completions", question(server, user="x" * 30_000))[0] == 413
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + (b"2000\r\n" + b" " * 8192 + b"\r\n") * 3
    assert raw(server, chunked).startswith(b"HTTP/1.1 413")
    assert raw(server, head + b"Content-Length: 99999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
    long_header = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000 + b"\r\n\r\n"
    assert raw(server, long_header).startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
    assert server.chat(**GOOD)[0] == 200


def test_a_client_that_leaves_frees_its_rows(server):
    body = json.dumps(question(server, max_tokens=200, stream=True, n=4, seed=1)).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    unstreamed = json.dumps(question(server, max_tokens=200, n=4)).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(unstreamed) + unstreamed)
        time.sleep(0.05)
    assert server.idle()


def test_unknown_places(server):
    for path in ("/nowhere", "/docs", "/openapi.json", "/v1/models/no/such/model"):
        status, _, answer = server.ask(path)
        assert status == 404
        assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert "/v1/chat/completions" in server.ask("/nowhere")[2]["error"]["message"]
    assert "no model 'no/such/model' here" in server.ask("/v1/models/no/such/model")[2]["error"]["message"]


READABLE = ["/", "/health", "/v1/models", "/v1/models/{name}"]


@pytest.mark.parametrize("path", [*READABLE, "/v1/chat/completions", "/v1/completions"])
def test_every_route_says_which_methods_it_takes(server, path):
    readable = path in READABLE
    allowed = "GET, HEAD, OPTIONS" if readable else "OPTIONS, POST"
    path = path.format(name=server.name)
    status, headers, body = server.ask(path, method="OPTIONS")
    assert (status, headers["allow"], body) == (204, allowed, "")
    status, headers, body = server.ask(path, method="HEAD")
    assert (status, body) == ((200, "") if readable else (405, ""))
    if readable:
        assert int(headers["content-length"]) == int(server.ask(path)[1]["content-length"]) > 0
    others = ("POST", "DELETE", "PUT") if readable else ("GET", "DELETE", "PATCH")
    for method in others:
        status, headers, answer = server.ask(path, {}, method=method)
        assert (status, headers["allow"]) == (405, allowed)
        assert f"takes {allowed}, not {method}" in answer["error"]["message"]
    for method in ("OPTIONS", "HEAD"):
        status, headers, _ = server.ask(path, method=method, headers={"Origin": "https://evil.example"})
        assert status == 403
        assert not any(name.lower().startswith("access-control") for name in headers)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("text/plain", "must be application/json, not 'text/plain'"),
        ("", "must be application/json; the request has none"),
        ("application/json; charset=utf-16", "charset must be utf-8, not 'utf-16'"),
        ("multipart/form-data; boundary=x", "not 'multipart/form-data'"),
    ],
)
def test_a_wrong_content_type_is_named(server, kind, says):
    status, _, answer = server.ask("/v1/completions", {}, headers={"Content-Type": kind})
    assert status == 415
    assert says in answer["error"]["message"]
    good = {"Content-Type": 'Application/JSON; charset="UTF-8"'}
    assert server.ask("/v1/chat/completions", question(server), headers=good)[0] == 200


@pytest.mark.parametrize(
    ("path", "fields", "param", "says"),
    [
        ("chat/completions", {"max_completion_tokens": 1000}, "max_completion_tokens", "must be at most 200"),
        ("chat/completions", {"max_tokens": 1000}, "max_tokens", "must be at most 200"),
        (
            "chat/completions",
            {"max_completion_tokens": 190, "messages": "long"},
            "messages",
            "exceed the model's context",
        ),
        ("chat/completions", {"n": 9}, "n", "must be at most 8"),
        ("chat/completions", {"stop": ["a"] * 5}, "stop", "must hold at most 4 texts"),
        ("completions", {"prompt": [300]}, "prompt", "token ids must lie in 0..265"),
        ("completions", {"prompt": ""}, "prompt", "holds no token"),
        ("completions", {"prompt": ["a"] * 17}, "prompt", "must be 1 to 16 prompts"),
        ("completions", {"prompt": "x" * 300}, "prompt", "exceed the model's context"),
    ],
    ids=str,
)
def test_limits_name_the_field_that_was_sent(server, path, fields, param, says):
    if fields.get("messages") == "long":
        fields = {**fields, "messages": [{"role": "user", "content": "x" * 100}]}
    needed = {"prompt": "hi"} if path == "completions" else {"messages": [{"role": "user", "content": "hi"}]}
    status, _, answer = server.ask(f"/v1/{path}", {"model": server.name, **needed, **fields})
    assert (status, answer["error"]["param"]) == (400, param)
    assert says in answer["error"]["message"]
    assert param in answer["error"]["message"]
