"""What a tokenizer calls the beginning, the end and the padding of a text: `tokenizer_config.json` beside its json.

DeepSeek's names count where there is no such file. A published tokenizer also says there whether a text begins with
the first of them, and its chat template may stand there.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepseek_lab.config import DataError
from deepseek_lab.input_files import require_fetched

FILE = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
_FIELDS = {"begin": "bos_token", "end": "eos_token", "pad": "pad_token", "unknown": "unk_token"}


@dataclass(frozen=True)
class SpecialNames:
    """Names of control tokens; all but `end` may be absent. add_begin: a text begins with `begin`."""

    begin: str | None = "<｜begin▁of▁sentence｜>"
    end: str = "<｜end▁of▁sentence｜>"
    pad: str | None = "<｜▁pad▁｜>"
    add_begin: bool = False
    unknown: str | None = field(default=None, repr=False)  # no part of a tokenizer's fingerprint

    @classmethod
    def beside(cls, tokenizer_json: Path) -> "SpecialNames | None":
        """Those of a published tokenizer; None where only the json lies. Raises DataError for a damaged file."""
        path = tokenizer_json.with_name(FILE)
        if not path.is_file():
            return None
        content = read_object(path)
        names = {ours: _name(content.get(theirs), path) for ours, theirs in _FIELDS.items()}
        if names["end"] is None:
            raise DataError(f"{path}: names no eos_token")
        return cls(**names, add_begin=content.get("add_bos_token") is True)  # type: ignore[arg-type]

    def as_published(self) -> dict[str, Any]:
        """Its part of a tokenizer_config.json."""
        return {theirs: getattr(self, ours) for ours, theirs in _FIELDS.items()} | {"add_bos_token": self.add_begin}

    def save_beside(self, tokenizer_json: Path) -> None:
        """Writes what `beside` reads."""
        content = {"tokenizer_class": "PreTrainedTokenizerFast", **self.as_published()}
        tokenizer_json.with_name(FILE).write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")


def _name(value: Any, path: Path) -> str | None:
    """A token stands there as a text or as an object with its `content`."""
    text = value.get("content") if isinstance(value, dict) else value
    if text is not None and not isinstance(text, str):
        raise DataError(f"{path}: a special token must be a text, not {str(text)[:40]!r}")
    return text or None


def own_template(folder: Path) -> str | None:
    """The chat template that lies beside a tokenizer; None where there is none. Raises DataError for a damaged file."""
    path = folder / TEMPLATE
    if path.exists():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read ({type(error).__name__})") from None
    given = read_object(folder / FILE).get("chat_template") if (folder / FILE).is_file() else None
    if isinstance(given, list):  # several by name
        named = {one.get("name"): one.get("template") for one in given if isinstance(one, dict)}
        given = named.get("default")
    return given if isinstance(given, str) else None


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises DataError naming the file."""
    require_fetched(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: no JSON object")
    return content
