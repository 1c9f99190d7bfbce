"""The chat page: one HTML file with its style and script inside, allowed by their hashes and nothing else.

What the model says enters the page as text nodes only (`chat.js`), and the policy would run no script that it
brought along: no other script, style, image or address is allowed, and only this server may be asked.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path

from starlette.responses import HTMLResponse, Response

_FOLDER = Path(__file__).with_name("page")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


@cache
def page() -> tuple[str, str]:
    """The HTML and its Content-Security-Policy."""
    markup, style, script = (
        (_FOLDER / name).read_text(encoding="utf-8") for name in ("chat.html", "chat.css", "chat.js")
    )
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return markup.replace("/*STYLE*/", style).replace("/*SCRIPT*/", script), policy


def page_response() -> Response:
    """GET /."""
    text, policy = page()
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})
