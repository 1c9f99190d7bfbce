"""Conversations of jsonl files: one JSON object a line, in either of the two forms people keep them in.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
    {"prompt": "…", "completion": "…"}

A conversation's name is its questions, so that the same question is never both trained on and tested.
Left out: conversations without an answer, which teach nothing here and are refused.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from deepseek_lab.config import DataError
from deepseek_lab.data.conversation import Conversation, ConversationCorpus, Role, Turn
from deepseek_lab.data.corpus import CorpusConfig
from deepseek_lab.jsonl import jsonl_files, jsonl_rows


class JsonLines(ConversationCorpus):
    """A .jsonl file, or all of a folder, sorted by name."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    @cached_property
    def identity(self) -> str:
        """A hash of the files' contents."""
        whole = hashlib.sha256()
        for file in self.files:
            whole.update(hashlib.sha256(file.read_bytes()).digest())
        return whole.hexdigest()

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every object with the place it stands at. Raises DataError, with that place, for anything else."""
        return jsonl_rows(self.files)


class ConversationFiles(JsonLines):
    """A conversation a line."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        path: str

        def build(self) -> "ConversationFiles":
            return ConversationFiles(jsonl_files(self.path))

    def conversations(self) -> Iterator[Conversation]:
        for number, (where, row) in enumerate(self.rows()):
            turns = turns_of(row, where)
            if turns[-1].role != "assistant":
                raise DataError(f"{where}: the conversation ends without an answer of the assistant")
            yield Conversation(str(number), turns, held_out_with=question_of(turns))


def turns_of(row: dict[str, Any], where: str) -> tuple[Turn, ...]:
    """The turns of one row in either form. Raises DataError."""
    if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        return Turn("user", row["prompt"]), Turn("assistant", row["completion"])
    return turns_in(row.get("messages"), where, "messages")


def turns_in(messages: Any, where: str, key: str) -> tuple[Turn, ...]:
    """A list of messages as turns. Raises DataError that names the place, and what is wrong."""
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where} has neither a list '{key}' nor the texts 'prompt' and 'completion'")
    turns = []
    for message in messages:
        role: Any = message.get("role") if isinstance(message, dict) else None
        if role not in get_args(Role) or not isinstance(message.get("content"), str):
            raise DataError(f"{where}: a message needs a role of {', '.join(get_args(Role))} and a text 'content'")
        turns.append(Turn(role, message["content"]))
    return tuple(turns)


def question_of(turns: tuple[Turn, ...]) -> str:
    """All but the assistant's turns as one text."""
    return "\n".join(turn.content for turn in turns if turn.role != "assistant")
