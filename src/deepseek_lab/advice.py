"""What a person is told to type, written so that it can be typed: quoted for the shell and for Hydra's grammar.

Two readers take a command line apart before a value arrives: the shell, and the grammar of overrides, in which commas,
brackets, quotes and `${…}` mean something. A value that both would read as it stands is written as it stands.
"""

import re
import shlex
from collections.abc import Sequence

_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./+-]*")
"""Texts that the grammar of overrides takes for themselves, unless they are one of these words or a number."""

_WORDS = frozenset({"true", "false", "null", "nan", "inf"})
_NUMBER = re.compile(r"[._\d]+|\.\d.*")

_SAFE_IN_DOUBLE_QUOTES = re.compile(r"""(?:[^"$`!\\]|\\')*""")


def quoted(value: object) -> str:
    """`value` as one quoted string of Hydra's grammar, whatever characters it holds; `${…}` in it stays a text."""
    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", str(value))
    text = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", text)
    return "'" + re.sub(r"(\\+)\Z", r"\1\1", text) + "'"


def override(key: str, value: object) -> str:
    """`key=value` in Hydra's grammar, quoted where it has to be, so that `value` arrives as the text that it is."""
    text = str(value)
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS and not _NUMBER.fullmatch(text)
    return f"{key}={text if plain else quoted(text)}"


def typed(words: Sequence[str]) -> str:
    """Words as they are typed into a shell."""
    return " ".join(_shell_word(word) for word in words)


def _shell_word(word: str) -> str:
    """As `shlex.quote`; around quotes of Hydra's grammar double quotes, which are easier to read, where they do."""
    key, _, value = word.partition("=")
    if "'" in value and key == shlex.quote(key) and _SAFE_IN_DOUBLE_QUOTES.fullmatch(value):
        return f'{key}="{value}"'
    return shlex.quote(word)


def resume_command(run_folder: object) -> str:
    """The command that goes on with a run."""
    return typed(["python", "scripts/train.py", override("resume", run_folder)])
