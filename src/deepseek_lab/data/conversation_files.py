"""Conversations of jsonl files: one JSON object a line, in the forms of `chat_rows`.

A conversation's name is its questions, so that the same question is never both trained on and tested.
Left out: conversations without an answer, which teach nothing here and are refused.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deepseek_lab.data.chat_rows import READING, conversation_of
from deepseek_lab.data.conversation import Conversation, ConversationCorpus, Turn
from deepseek_lab.data.corpus import CorpusConfig
from deepseek_lab.input_files import FoundFiles, row_files, rows


class JsonLines(ConversationCorpus):
    """A .jsonl file, or all of a folder, sorted by name."""

    def __init__(self, found: FoundFiles) -> None:
        self.files, self._note = found.files, found.note

    @property
    def notes(self) -> Sequence[str]:
        """Files of the folder that are not read."""
        return (self._note,) if self._note else ()

    has_thoughts = False  # of which `READING` tells

    @cached_property
    def identity(self) -> str:
        """A hash of the files' contents, and of how rows are read."""
        whole = hashlib.sha256(b"%d" % READING)
        for file in self.files:
            whole.update(hashlib.sha256(file.read_bytes()).digest())
        return whole.hexdigest()

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every object with the place it stands at. Raises DataError, with that place, for anything else."""
        return rows(self.files)


class ConversationFiles(JsonLines):
    """A conversation a line."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        path: str

        def build(self) -> "ConversationFiles":
            return ConversationFiles(row_files(self.path))

    def conversations(self) -> Iterator[Conversation]:
        return conversations_in(self.rows())


def conversations_in(rows: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[Conversation]:
    """A conversation a row, named by its number and held out by its question. Raises DataError."""
    for number, (where, row) in enumerate(rows):
        turns, notes = conversation_of(row, where)
        yield Conversation(str(number), turns, question_of(turns), notes)


def question_of(turns: tuple[Turn, ...]) -> str:
    """All but the assistant's turns as one text."""
    return "\n".join(turn.content for turn in turns if turn.role != "assistant")
