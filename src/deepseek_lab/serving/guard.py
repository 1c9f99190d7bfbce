"""What a request must be before anything reads it: addressed to this server, from its own page, with the key, small.

An ASGI layer around the app. A browser sends requests for any page it shows, so an open port on this machine is
reachable from the whole web: `Host` must be a name of this server (against DNS rebinding), `Origin`, where there
is one, this server itself, and a body must say that it is JSON, which a foreign page cannot without asking first;
no answer carries a CORS header, so that question is answered with no.
"""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepseek_lab.serving.access import Access
from deepseek_lab.serving.limits import Limits
from deepseek_lab.serving.refusals import Refusal

SAFE_HEADERS = {
    b"cache-control": b"no-store",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}
_SINGLE = (b"host", b"origin", b"content-type", b"authorization", b"content-length")
API = "/v1/"


class Guard:
    """Refuses what may not pass; reads the body, up to its cap, before the app sees the request."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits) -> None:
        self._app, self._access, self._limits = app, access, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *SAFE_HEADERS.items()]}
            async with asyncio.timeout(self._limits.idle_seconds):
                await send(message)

        try:
            self._check(scope, _headers(scope))
            async with asyncio.timeout(self._limits.idle_seconds):
                body = await self._body(receive)
        except Refusal as refusal:
            await refusal.response()(scope, receive, send_safely)
        except TimeoutError:
            await Refusal(408, "the request did not come to its end").response()(scope, receive, send_safely)
        else:
            await self._app(scope, _replayed(body, receive), send_safely)

    def _check(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._limits.header_bytes:
            raise Refusal(431, f"headers hold at most {self._limits.header_bytes:,} bytes")
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if _name(host) not in self._access.hosts:
            raise Refusal(403, "this host name is not served; start the server with allowed_hosts=[…]")
        self._check_origin(headers, host)
        if scope["method"] == "POST":
            _require_json(headers.get(b"content-type", b""))
        if scope["path"].startswith(API) or scope["path"] == "/health":
            self._check_key(headers)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 12 or int(length) > self._limits.body_bytes:
            raise Refusal(413, f"a request holds at most {self._limits.body_bytes:,} bytes")

    @staticmethod
    def _check_origin(headers: Mapping[bytes, bytes], host: str) -> None:
        origin = headers.get(b"origin")
        if origin is not None:
            parts = urlsplit(origin.decode("latin-1").lower())
            if parts.scheme not in ("http", "https") or parts.netloc != host:
                raise Refusal(403, "requests of other sites are not answered")

    def _check_key(self, headers: Mapping[bytes, bytes]) -> None:
        scheme, _, offered = headers.get(b"authorization", b"").partition(b" ")
        key = self._access.key
        if key is not None and not (scheme.lower() == b"bearer" and key.matches(offered.strip())):
            raise Refusal(401, "a valid API key is needed: Authorization: Bearer <key>", code="invalid_api_key")

    async def _body(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal(400, "the client left")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._limits.body_bytes:
                raise Refusal(413, f"a request holds at most {self._limits.body_bytes:,} bytes")
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """The headers; raises Refusal when one that decides comes twice."""
    names = [name for name, _ in scope["headers"]]
    if any(names.count(name) > 1 for name in _SINGLE):
        raise Refusal(400, "a header comes twice")
    return dict(scope["headers"])


def _name(host: str) -> str:
    """`[::1]:8000` -> `::1`; empty for what is no host."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    plain = parts.path == "" and parts.query == "" and parts.username is None and "#" not in host
    return parts.hostname or "" if plain else ""


def _require_json(content_type: bytes) -> None:
    """Raises Refusal for a body that does not say it is JSON in UTF-8."""
    kind, *settings = content_type.decode("latin-1").lower().split(";")
    if kind.strip() != "application/json":
        given = f", not {kind.strip()[:60]!r}" if kind.strip() else "; the request has none"
        raise Refusal(415, f"the content type must be application/json{given}")
    for name, _, value in (setting.partition("=") for setting in settings):
        charset = value.strip().strip('"')
        if name.strip() == "charset" and charset not in ("utf-8", "utf8", "us-ascii"):
            raise Refusal(415, f"the content type's charset must be utf-8, not {charset[:60]!r}")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then what comes after it: that the client left."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
