"""Prompts from a file: lines of text, or jsonl with `prompt` or `messages` in the forms of `chat_rows`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepseek_lab.config import DataError, nearest
from deepseek_lab.data.chat_rows import prompt_of
from deepseek_lab.text.chat import Message

FORMATS = (".txt", ".jsonl")


@dataclass(frozen=True)
class Prompt:
    """What the model is given: a text to continue, or the turns of a conversation."""

    text: str = ""
    messages: tuple[Message, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What of its row is not read."""
    where: str = field(default="", compare=False)
    """File and line."""

    @property
    def as_data(self) -> dict[str, Any]:
        """How it stands in a file."""
        if not self.messages:
            return {"prompt": self.text}
        return {"messages": [_as_row(message) for message in self.messages]}


def _as_row(message: Message) -> dict[str, str]:
    thought = {"reasoning_content": message.reasoning} if message.reasoning else {}
    return {"role": message.role, "content": message.content, **thought}


def read_prompts(path: str) -> list[Prompt]:
    """Every prompt of a `.txt` (one a line, empty lines left out) or `.jsonl` file.

    Raises DataError, naming the file and the line, for what is none.
    """
    file = Path(path).expanduser()
    if file.suffix not in FORMATS:
        raise DataError(f"{file}: prompts stand in a file that ends in {' or '.join(FORMATS)}")
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        beside = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(f"{file}: {error.strerror}{nearest(file.name, beside)}") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: not UTF-8") from None
    filled = [(number, line.rstrip("\r")) for number, line in enumerate(lines, start=1) if line.strip()]
    if not filled:
        raise DataError(f"{file}: holds no prompt")
    if file.suffix == ".txt":
        return [Prompt(line, where=f"{file}:{number}") for number, line in filled]
    return [_of_json(line, f"{file}:{number}") for number, line in filled]


def _of_json(line: str, where: str) -> Prompt:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError(f"{where}: no json") from None
    if not isinstance(row, dict):
        raise DataError(f'{where}: needs an object with "prompt" or "messages"')
    asked, notes = prompt_of(row, where)
    if isinstance(asked, str):
        return Prompt(asked, notes=notes, where=where)
    turns = (Message(role=turn.role, content=turn.content, reasoning=turn.reasoning) for turn in asked)
    return Prompt(messages=tuple(turns), notes=notes, where=where)
