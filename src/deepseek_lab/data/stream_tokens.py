"""The training tokens of a stream, from any noted place on, without end.

A place says where a batch of documents begins in the stream, how many of its documents are used up, and how
many tokens of the next: plain numbers, from which another process goes on with the very next token.
"""

from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import DataError
from deepseek_lab.data.document_encoder import DocumentEncoder
from deepseek_lab.data.stream import Position, StreamedCorpus

DOCUMENTS_PER_BATCH = 256


@dataclass(frozen=True)
class Place:
    """Between two tokens of a stream: in a batch of documents, in one of its documents."""

    batch: Position  # where the batch begins in the stream
    documents: int = 0  # of the batch that are used up
    tokens: int = 0  # of the next document that are used up

    def to_json(self) -> dict[str, Any]:
        """Plain values for `Place(**…)`."""
        return asdict(self)


class StreamTokens:
    """Takes tokens from `place` on; at the end of the stream goes on at `start`, where training text begins."""

    def __init__(
        self,
        corpus: StreamedCorpus,
        encoder: DocumentEncoder,
        start: Position,
        place: Place | None = None,
    ) -> None:
        self._corpus, self._encoder, self._start = corpus, encoder, start
        self.place = place or Place(start)
        self._reader = corpus.reader(self.place.batch)
        self._batch: list[NDArray[np.int64]] | None = None

    def take(self, n_tokens: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The next `n_tokens`, and where documents start among them, with the end.

        Raises DataError when the stream holds no training text at all.
        """
        pieces: list[NDArray[np.int64]] = []
        left = n_tokens
        while left:
            pieces.append(self._piece(left))
            left -= len(pieces[-1])
        ends = np.cumsum([len(piece) for piece in pieces])
        return np.concatenate(pieces), np.concatenate([[0], ends])

    def _piece(self, most: int) -> NDArray[np.int64]:
        """Tokens of one document, at most `most`; moves the place."""
        document = self._next_document()
        piece = document[self.place.tokens : self.place.tokens + most]
        if self.place.tokens + len(piece) < len(document):
            self.place = replace(self.place, tokens=self.place.tokens + len(piece))
        else:
            self.place = replace(self.place, documents=self.place.documents + 1, tokens=0)
        return piece

    def _next_document(self) -> NDArray[np.int64]:
        if self._batch is None:
            self._batch = self._read_batch()
        if self.place.documents >= len(self._batch):
            self.place = Place(self._reader.position())
            self._batch = self._read_batch()
        if not self._batch:
            self._batch = self._from_the_start()
        return self._batch[self.place.documents]

    def _read_batch(self) -> list[NDArray[np.int64]]:
        documents = ((document, "train") for document in islice(self._reader, DOCUMENTS_PER_BATCH))
        return [encoded.ids for encoded in self._encoder.encode(documents)]  # type: ignore[arg-type]

    def _from_the_start(self) -> list[NDArray[np.int64]]:
        """The first batch again."""
        self.place = Place(self._start)
        self._reader = self._corpus.reader(self._start)
        batch = self._read_batch()
        if not batch:
            raise DataError(
                f"{self._corpus.name} ends within the documents that are held out: lower held_out_documents"
            )
        return batch
