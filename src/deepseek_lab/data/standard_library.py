"""The embedded corpus: the Python standard library of the running interpreter.

Real code on every machine, with nothing to install or download. It differs between Python versions,
so every run records the hash of what it read. Left out: installed packages, the library's own tests
(unless asked for), empty files, and the few files that are not UTF-8.
"""

import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deepseek_lab.config import DataError
from deepseek_lab.data.corpus import Corpus, CorpusConfig, Document

INSTALLED = {"site-packages", "dist-packages", "__pycache__"}
TESTS = {"test", "tests", "idle_test"}


class StandardLibrary(Corpus):
    """Every `.py` file of the standard library, sorted by path."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        with_tests: bool = False
        folder: str | None = None  # None is the running interpreter's

        def build(self) -> "StandardLibrary":
            return StandardLibrary(Path(self.folder or sysconfig.get_paths()["stdlib"]), self.with_tests)

    def __init__(self, root: Path, with_tests: bool = False) -> None:
        self.root = root
        self._skipped = INSTALLED if with_tests else INSTALLED | TESTS

    def paths(self) -> list[Path]:
        """The files, relative to the root, sorted as POSIX paths so that the order is the same everywhere."""
        found = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if name not in self._skipped]
            found += [Path(folder, name).relative_to(self.root) for name in names if name.endswith(".py")]
        return sorted(found, key=Path.as_posix)

    @cached_property
    def _documents(self) -> list[Document]:
        """Kept in memory (12 MB), so that hashing, training the tokenizer and encoding see one content."""
        documents = []
        for path in self.paths():
            try:
                text = (self.root / path).read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                continue
            if text:
                documents.append(Document(path.as_posix(), text))
        return documents

    def documents(self) -> Iterator[Document]:
        if not self._documents:
            raise DataError(f"{self.root} holds no Python files to train on")
        yield from self._documents
