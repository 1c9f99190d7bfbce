"""A corpus that is read as training goes on, because it is larger than the disk or the patience.

Its documents come in one order that can be taken up again at a noted position. The first of them are held
out; the others are training text, read again from there when they end. Such a corpus is told apart by its
name, revision and settings: nobody has read all of its content.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from deepseek_lab.data.corpus import Corpus, Document

Position = dict[str, Any]
"""Where a stream stands, in plain JSON."""


@dataclass(frozen=True)
class StreamSettings:
    """How a stream becomes shards of tokens, in tokens, documents and shards."""

    held_out_documents: int
    shard_tokens: int
    window_shards: int
    keep_shards: int | None


class DocumentReader(Protocol):
    """Documents in order."""

    def __iter__(self) -> "DocumentReader": ...

    def __next__(self) -> Document: ...

    def position(self) -> Position:
        """Where a new reader goes on behind the document given last."""


class StreamedCorpus(Corpus):
    """A corpus whose reading can be taken up again."""

    name: str
    """What errors call it."""
    settings: StreamSettings

    @abstractmethod
    def reader(self, position: Position | None = None) -> DocumentReader:
        """The documents from `position` on, None: from the first. Raises DataError."""

    def documents(self) -> Iterator[Document]:
        return iter(self.reader())
