"""A made-up corpus that teaches reading far back: code in which facts are stated and come again.

Document n is a stretch of a standard library file with some lines of `tasks.needle` put in several times, at
random places. Nothing but the earlier line tells the value of a later one. A stretch is between 1/16 and all of
`longest_bytes` long, evenly on a logarithmic scale, so short and long distances are both learnt.

Files that the default split of `python_stdlib` holds out are never used: a test may take them as haystacks.
Left out: sentences that ask in other words; a network of a few million weights would not learn them.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deepseek_lab.data.corpus import Corpus, CorpusConfig, Document, split_of
from deepseek_lab.data.standard_library import StandardLibrary
from deepseek_lab.tasks.needle import NAMES, draw, planted

HELD_OUT = {"validation_share": 0.05, "test_share": 0.05}
_SHORTEST = 16  # the longest stretch over the shortest


class Needles(Corpus):
    """`n_documents` documents, each a pure function of (`seed`, its number) and the filler."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        n_documents: int = 4000
        longest_bytes: int = 400
        bytes_per_fact: int = 120  # of filler, for each fact
        repeats: int = 3  # how often a fact's line stands in its document
        bare_share: float = 0.5  # of documents that hold facts alone
        seed: int = 0
        folder: str | None = None  # of .py files, the filler; None is the standard library

        def check(self) -> None:
            self.require_positive("n_documents", "longest_bytes", "bytes_per_fact", "repeats")
            self.require_not_negative("seed", "bare_share")

        def build(self) -> "Needles":
            return Needles(self)

    def __init__(self, config: Config) -> None:
        self.config = config

    @cached_property
    def _filler(self) -> str:
        """All files that may be used, end to end."""
        folder = None if self.config.folder is None else str(Path(self.config.folder))
        library = StandardLibrary.Config(folder=folder).build()
        return "\n".join(d.text for d in library.documents() if split_of(d.name, **HELD_OUT) == "train")

    def documents(self) -> Iterator[Document]:
        for number in range(self.config.n_documents):
            yield Document(f"needles#{number}", self.text(number))

    def text(self, number: int) -> str:
        """The text of document `number`."""
        c = self.config
        source = random.Random(f"{c.seed} {number}")
        length = max(1, round(c.longest_bytes * _SHORTEST ** -source.random()))
        start = source.randrange(max(len(self._filler) - length, 1))
        stretch = "" if source.random() < c.bare_share else self._filler[start : start + length].partition("\n")[2]
        needles = draw(min(max(length // c.bytes_per_fact, 1), len(NAMES)), source)
        return planted(stretch, needles, c.repeats, source)
