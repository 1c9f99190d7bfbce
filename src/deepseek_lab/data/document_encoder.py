"""Documents to token ids: encoded, rearranged for fill-in-the-middle, ended by the end-of-text token.

Only training documents are changed on the way (`fill_in_middle`, `punctuation_split`); held-out text stays
as it is, so that a loss on it can be compared between runs of different rates.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.data import fill_in_middle
from deepseek_lab.data.corpus import Document, Split
from deepseek_lab.data.encoding import encode_all
from deepseek_lab.data.punctuation_split import PunctuationSplit
from deepseek_lab.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class EncodedDocument:
    """The ids of one document, end-of-text included, and the bytes its text has."""

    split: Split
    ids: NDArray[np.int64]
    n_bytes: int


class DocumentEncoder:
    """Encodes documents on several threads, in order and with bounded memory."""

    def __init__(
        self, tokenizer: Tokenizer, fim_rate: float = 0.0, punctuation_split_rate: float = 0.0, n_workers: int = 1
    ) -> None:
        """Raises ConfigError when the tokenizer has nothing that could be split."""
        self.tokenizer = tokenizer
        self.fim_rate = fim_rate
        self.n_workers = n_workers
        self._split_punctuation = PunctuationSplit(tokenizer, punctuation_split_rate)

    def encode(self, documents: Iterable[tuple[Document, Split]]) -> Iterator[EncodedDocument]:
        """Each document in order; only a few are held at once."""
        pending: deque[tuple[Document, Split, int]] = deque()

        def texts() -> Iterator[str]:
            for document, split in documents:
                parts = self._parts(document, split)
                pending.append((document, split, len(parts)))
                yield from parts

        encoded = encode_all(self.tokenizer, texts(), self.n_workers)
        for first in encoded:
            document, split, n_parts = pending.popleft()
            yield self._whole(document, split, [first, *islice(encoded, n_parts - 1)])

    def _parts(self, document: Document, split: Split) -> tuple[str, ...]:
        """The text whole, or in three parts."""
        rearranged = fill_in_middle.cut(document, self.fim_rate) if split == "train" else None
        return rearranged or (document.text,)

    def _whole(self, document: Document, split: Split, parts: list[list[int]]) -> EncodedDocument:
        ids = parts[0] if len(parts) == 1 else fill_in_middle.join(self.tokenizer, *parts)
        if split == "train":
            ids = self._split_punctuation(document, ids)
        return EncodedDocument(
            split, np.array([*ids, self.tokenizer.eos_id], dtype=np.int64), len(document.text.encode())
        )
