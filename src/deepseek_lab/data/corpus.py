"""A corpus: named documents of text, and the rule that puts each into train, val or test.

A new source of text is one class: a Config with `build`, and `documents()`; it then stands alone or in a
mixture. The split looks at a document's name alone (a hash of it), so it needs no seed, does not depend on
the other documents, and stays the same when files are added. Whole documents are held out: no file is seen
half in training, unless there are so few that a wanted split would be empty: then the end of each is held out. Where
documents say nearly the same (two translations), one name decides for all of them.

Left out: what is too large to be prepared as a whole (`stream`), and several corpora at once (`mixture`).
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, get_args

from deepseek_lab.config import CheckedConfig

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Document:
    """One text and its name, unique and the same on every machine, which decides its split."""

    name: str
    text: str
    held_out_with: str | None = None
    """The name that decides the split instead, for documents that must go the same way."""

    @property
    def split_name(self) -> str:
        """What decides the split."""
        return self.name if self.held_out_with is None else self.held_out_with


class Corpus(ABC):
    """Documents that can be read again and again, in the same order."""

    may_be_cut: ClassVar[bool] = True
    """Whether the end of a document may be held out where there are too few to hold out whole ones."""

    @property
    def notes(self) -> Sequence[str]:
        """What is left out of what was named, one line each."""
        return ()

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """Every document that is not empty. Raises DataError when there is nothing to read."""

    @cached_property
    def identity(self) -> str:
        """What tells two corpora apart: a hash of every name and every content, in order.

        A corpus that can be told by less (a revision, the files it is made from) gives that instead.
        """
        whole = hashlib.sha256()
        for document in self.documents():
            for part in (document.name, document.text):
                whole.update(hashlib.sha256(part.encode()).digest())
        return whole.hexdigest()


class SourcesConfig(CheckedConfig, ABC):
    """What is read, under the key `corpus`: one corpus or a mixture of several."""

    @abstractmethod
    def corpora(self) -> dict[str, "CorpusConfig"]:
        """Each corpus under its name."""

    @abstractmethod
    def shares(self) -> dict[str, float]:
        """The share of the training samples that each corpus gives; they add up to 1."""

    def require_installed(self) -> None:
        """Raises ConfigError, naming what to install, when a package that holds the text is missing."""


class CorpusConfig(SourcesConfig):
    """What the data needs to know of a corpus' Config."""

    @abstractmethod
    def build(self) -> Corpus:
        """The corpus; reads no text yet."""

    def corpora(self) -> dict[str, "CorpusConfig"]:
        return {"corpus": self}

    def shares(self) -> dict[str, float]:
        return {"corpus": 1.0}


def ends_held_out(document: Document, validation_share: float, test_share: float) -> Iterator[tuple[Document, Split]]:
    """A document in up to three parts, cut at a line or a word where one ends near: training text, val, test."""
    text, start = document.text, 0
    held_out = validation_share + test_share
    parts: tuple[tuple[Split, float, float], ...] = (
        *(("train", 1 - held_out, held_out), ("val", validation_share, test_share), ("test", test_share, 0.0)),
    )
    for split, share, left in parts:  # of the text: this part's share, and what follows it
        end = _cut_near(text, round(len(text) * (1 - left)), round(len(text) * left / 4))
        if share and start < end:
            yield replace(document, name=f"{document.name} from {start}", text=text[start:end]), split
            start = end


def _cut_near(text: str, place: int, most: int) -> int:
    """Behind the last line break, or the last space, that lies at most `most` characters before a place."""
    found = (text.rfind(mark, place - most, place) + 1 for mark in ("\n", " "))
    return next((end for end in found if end), place)


def split_of(name: str, validation_share: float, test_share: float) -> Split:
    """The split of the document called `name`: val and test get their shares of all names, on average."""
    position = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    if position < validation_share:
        return "val"
    return "test" if position < validation_share + test_share else "train"
