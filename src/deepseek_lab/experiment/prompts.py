"""Prompts from a file: lines of text, or jsonl with `prompt` or `messages` in the forms of `chat_rows`."""

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepseek_lab.config import DataError, nearest
from deepseek_lab.data.chat_rows import prompt_of
from deepseek_lab.input_files import kind_of, printable, rows, text_lines
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
    """Every prompt of a `.txt` (one a line, empty lines left out) or `.jsonl` file, gzipped or not.

    Raises DataError, naming the file and the line, for what is none.
    """
    file = Path(os.path.expanduser(path))
    if kind_of(file) not in FORMATS:
        raise DataError(f"{printable(file)}: prompts stand in a file that ends in {' or '.join(FORMATS)}")
    if not file.exists():
        beside = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(f"{printable(file)}: {os.strerror(errno.ENOENT)}{nearest(file.name, beside)}")
    prompts = [_of_row(row, where) for where, row in rows([file])] if kind_of(file) == ".jsonl" else _of_lines(file)
    if not prompts:
        raise DataError(f"{printable(file)}: holds no prompt")
    return prompts


def _of_lines(file: Path) -> list[Prompt]:
    lines = ((number, line.rstrip("\r\n")) for number, line in text_lines(file))
    return [Prompt(line, where=f"{printable(file)}, line {number}") for number, line in lines if line.strip()]


def _of_row(row: dict[str, Any], where: str) -> Prompt:
    asked, notes = prompt_of(row, where)
    if isinstance(asked, str):
        return Prompt(asked, notes=notes, where=where)
    turns = (Message(role=turn.role, content=turn.content, reasoning=turn.reasoning) for turn in asked)
    return Prompt(messages=tuple(turns), notes=notes, where=where)
