"""JSON from a stranger: an object of UTF-8, no name twice, no NaN, no depth that breaks the reader."""

import json
from pathlib import Path
from typing import Any

from deepseek_lab.config import DataError
from deepseek_lab.input_files import require_fetched


class NotPlainJson(ValueError):
    """What is wrong, in a few words."""


def parse(content: bytes) -> dict[str, Any]:
    """The object that `content` spells. Raises NotPlainJson."""
    try:
        value = json.loads(content, object_pairs_hook=_once, parse_constant=_refuse)
    except NotPlainJson:
        raise
    except UnicodeDecodeError:
        raise NotPlainJson("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise NotPlainJson(f"no JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise NotPlainJson("no JSON that a reader can hold") from None
    if not isinstance(value, dict):
        raise NotPlainJson("no JSON object")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file. Raises DataError naming the file."""
    require_fetched(path)
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except NotPlainJson as error:
        raise DataError(f"{path}: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotPlainJson(f"{twice[:60]!r} stands there twice")
    return found


def _refuse(constant: str) -> Any:
    raise NotPlainJson(f"{constant} is no number")
