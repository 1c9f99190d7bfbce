"""A corpus: named documents of text, and the rule that puts each into train, val or test.

A new source of text is one class: a Config with `build`, and `documents()`. The split looks at a
document's name alone (a hash of it), so it needs no seed, does not depend on the other documents, and
stays the same when files are added. Whole documents are held out: no file is seen half in training.

Left out: mixing several corpora by weight, and streaming (the token files are made once).
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from deepseek_lab.config import CheckedConfig, ConfigError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Document:
    """One text and the name, unique and the same on every machine, that decides its split."""

    name: str
    text: str


class Corpus(ABC):
    """Documents that can be read again and again, in the same order."""

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """Every document that is not empty. Raises DataError when there is nothing to read."""

    def content_hash(self) -> str:
        """A hash of every name and every content, in order."""
        whole = hashlib.sha256()
        for document in self.documents():
            for part in (document.name, document.text):
                whole.update(hashlib.sha256(part.encode()).digest())
        return whole.hexdigest()


class CorpusConfig(CheckedConfig, ABC):
    """What the data needs to know of a corpus' Config, which stands under the key `corpus`."""

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except ConfigError as error:
            raise error.at("corpus") from None

    @abstractmethod
    def build(self) -> Corpus:
        """The corpus; reads no text yet."""


def split_of(name: str, validation_share: float, test_share: float) -> Split:
    """The split of the document called `name`: val and test get their shares of all names, on average."""
    position = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    if position < validation_share:
        return "val"
    return "test" if position < validation_share + test_share else "train"
