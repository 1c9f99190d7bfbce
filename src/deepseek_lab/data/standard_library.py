"""The embedded corpus: the Python standard library of the running interpreter.

Real code on every machine, with nothing to install or download. It differs between Python versions,
so every run records the hash of what it read. Packages that are installed anyway give more of the kind.
Left out: the library's own tests (unless asked for), empty files, and the few files that are not UTF-8.
"""

import os
import sysconfig
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.corpus import Corpus, CorpusConfig, Document

INSTALLED = {"site-packages", "dist-packages", "__pycache__"}
TESTS = {"test", "tests", "idle_test"}


class PythonFiles(Corpus):
    """Every `.py` file of some folders, sorted by path and named by it."""

    def __init__(self, roots: Mapping[str, Path], skipped: Set[str]) -> None:
        """`roots`: folders by what stands before the names of their files; folders named in `skipped` are not read."""
        self.roots = roots
        self._skipped = skipped

    def paths(self) -> dict[str, Path]:
        """The files by name, sorted as POSIX paths so that the order is the same everywhere."""
        found: dict[str, Path] = {}
        for prefix, root in self.roots.items():
            for folder, folders, names in os.walk(root):
                folders[:] = [name for name in folders if name not in self._skipped]
                files = [Path(folder, name) for name in names if name.endswith(".py")]
                found |= {prefix + path.relative_to(root).as_posix(): path for path in files}
        return dict(sorted(found.items()))

    @cached_property
    def _documents(self) -> list[Document]:
        """Kept in memory (12 MB), so that hashing, training the tokenizer and encoding see one content."""
        documents = []
        for name, path in self.paths().items():
            try:
                text = path.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                continue
            if text:
                documents.append(Document(name, text))
        return documents

    def documents(self) -> Iterator[Document]:
        if not self._documents:
            raise DataError(f"{', '.join(map(str, self.roots.values()))} holds no Python files to train on")
        yield from self._documents


class StandardLibrary(PythonFiles):
    """The standard library of the running Python."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        with_tests: bool = False
        folder: str | None = None  # None is the running interpreter's

        def build(self) -> "StandardLibrary":
            root = Path(self.folder or sysconfig.get_paths()["stdlib"])
            return StandardLibrary({"": root}, INSTALLED if self.with_tests else INSTALLED | TESTS)


class InstalledPackages(PythonFiles):
    """The sources of installed packages. They are found and read, never imported."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        packages: list[str]
        with_tests: bool = False

        def check(self) -> None:
            for name in self.packages:
                if not name.isidentifier():
                    raise ConfigError(f"must name packages as they are imported, not {name!r}", "packages")

        def require_installed(self) -> None:
            self._folders()

        def _folders(self) -> dict[str, Path]:
            found = {}
            for name in self.packages:
                spec = find_spec(name)
                if spec is None or not spec.submodule_search_locations:
                    raise ConfigError(f"names the package {name}, which is not installed", "data")
                found[f"{name}/"] = Path(next(iter(spec.submodule_search_locations)))
            return found

        def build(self) -> "InstalledPackages":
            return InstalledPackages(self._folders(), INSTALLED if self.with_tests else INSTALLED | TESTS)
