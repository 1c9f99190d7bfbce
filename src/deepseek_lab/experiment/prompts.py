"""Prompts from a file: lines of text, or jsonl with `prompt` or `messages`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_lab.config import DataError, nearest
from deepseek_lab.text.chat import Message

FORMATS = (".txt", ".jsonl")


@dataclass(frozen=True)
class Prompt:
    """What the model is given: a text to continue, or the turns of a conversation."""

    text: str = ""
    messages: tuple[Message, ...] = ()

    @property
    def as_data(self) -> dict[str, Any]:
        """How it stands in a file."""
        if not self.messages:
            return {"prompt": self.text}
        return {"messages": [{"role": m.role, "content": m.content} for m in self.messages]}


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
        return [Prompt(line) for _, line in filled]
    return [_of_json(line, f"{file}:{number}") for number, line in filled]


def _of_json(line: str, where: str) -> Prompt:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError(f"{where}: no json") from None
    if not isinstance(row, dict) or ("prompt" in row) == ("messages" in row):
        raise DataError(f'{where}: needs "prompt" or "messages", and not both')
    if "prompt" in row:
        if not isinstance(row["prompt"], str) or not row["prompt"]:
            raise DataError(f'{where}: "prompt" must be a text of at least one character')
        return Prompt(row["prompt"])
    return Prompt(messages=tuple(_message(turn, where) for turn in _turns(row["messages"], where)))


def _turns(turns: Any, where: str) -> list[Any]:
    if not isinstance(turns, list) or not turns:
        raise DataError(f'{where}: "messages" must be a list of at least one turn')
    return turns


def _message(turn: Any, where: str) -> Message:
    role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
    if not isinstance(role, str) or not isinstance(content, str):
        raise DataError(f'{where}: a turn needs "role" and "content", both texts')
    try:
        return Message(role=role, content=content)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
