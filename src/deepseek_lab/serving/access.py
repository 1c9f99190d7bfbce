"""Who may talk to the server: where it listens, the key, and the names it answers to.

The key comes from the environment or from a file, never from an override: Hydra writes overrides to disk and
the shell keeps them in its history. It is held as a hash, so no traceback or log can show it.
"""

import hashlib
import hmac
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from deepseek_lab.config import ConfigError

KEY_VARIABLE = "DEEPSEEK_LAB_API_KEY"
SHORTEST_KEY = 16
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Key:
    """A secret that can be compared with, in a time that tells nothing, and never printed."""

    def __init__(self, secret: str) -> None:
        self._hash = hashlib.sha256(secret.encode()).digest()

    def matches(self, offered: bytes) -> bool:
        """Whether `offered` is the secret."""
        return hmac.compare_digest(self._hash, hashlib.sha256(offered).digest())

    def __repr__(self) -> str:
        return "Key(<redacted>)"


def read_key(key_file: str | None) -> Key | None:
    """The key of `key_file`, or else of the environment; None where there is neither.

    Raises ConfigError, which never holds the key, for a file that cannot be read and for a key that is short.
    """
    if key_file is None:
        secret, field = os.environ.get(KEY_VARIABLE), KEY_VARIABLE
    else:
        secret, field = _first_line(key_file), "key_file"
    if secret is None:
        return None
    if len(secret) < SHORTEST_KEY or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ConfigError(f"must be at least {SHORTEST_KEY} printable ASCII characters without spaces", field)
    return Key(secret)


def _first_line(path: str) -> str:
    try:
        lines = Path(path).expanduser().read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {path} ({type(error).__name__})", "key_file") from None
    return lines[0].strip()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """The key, if any, and the host names that requests may be addressed to.

    Without the second, a web page elsewhere could point a name of its own at this machine (DNS rebinding) and
    read what the model says.
    """

    key: Key | None
    hosts: frozenset[str]


def access(host: str, allowed_hosts: list[str], key: Key | None) -> Access:
    """Raises ConfigError for an address that others can reach without a key, or for all addresses without a name."""
    if not is_loopback(host) and key is None:
        raise ConfigError(
            f"={host} can be reached by others: set {KEY_VARIABLE} or key_file first, or use host=127.0.0.1", "host"
        )
    everywhere = host in ("0.0.0.0", "::", "")
    if everywhere and not allowed_hosts:
        raise ConfigError(f"={host or '(empty)'} needs the names it is reached by: allowed_hosts=[my.host]", "host")
    own = frozenset() if everywhere else frozenset({host.lower()})
    return Access(key, own | _LOOPBACK_NAMES | {name.lower() for name in allowed_hosts})
