"""Files that people bring: found below a folder, opened as text, read by lines or by rows of JSON.

Every reader of such files goes through here, so that each answers alike: exactly the file that is named is read,
never a pattern; gzip is undone; a byte order mark is no text; lines end in LF or CRLF. Whatever cannot be read is a
DataError of one line with the file, the line or row, and the cause.

Rows are JSON objects, one a line, or the objects of one list (a file that begins with `[`, or ends in `.json`).
Left out: what a run writes itself, and may have written half, which is read elsewhere; other kinds of compression.
"""

import gzip
import json
import os
import stat
import zlib
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from deepseek_lab.config import ConfigError, DataError

GZIP, _GZIP_MAGIC, _MARK = ".gz", b"\x1f\x8b", "\ufeff"
_MARKS_OF_OTHERS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
ROWS = frozenset({".jsonl"})


_POINTER = b"version https://git-lfs.github.com/spec/"


def require_fetched(path: Path) -> None:
    """Raises DataError for what Git LFS leaves in the place of a large file until it is fetched."""
    try:
        with path.open("rb") as file:
            begins = file.read(len(_POINTER))
    except OSError:  # whoever reads it says so
        return
    if begins == _POINTER:
        raise DataError(f"{printable(path)} is a pointer of Git LFS, not the file: git lfs pull fetches it")


def kind_of(path: Path) -> str:
    """The suffix in small letters, that of the content where it is compressed: `.txt` of `a.TXT.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [GZIP]:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def printable(path: Path | str) -> str:
    """A path as UTF-8; bytes of a name that are none are written as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class FoundFiles:
    """The files below a folder, in the order of their names, and what was left out with its number."""

    files: tuple[Path, ...]
    left_out: dict[str, int]

    @property
    def note(self) -> str:
        """One line; empty where all was taken."""
        left = ", ".join(f"{count:,} {what}" for what, count in sorted(self.left_out.items()))
        return f"{len(self.files):,} files are read; left out: {left}" if left else ""


def found_files(root: Path, kinds: Collection[str]) -> FoundFiles:
    """Every file of these kinds at or below `root`; what `root` itself names is taken whatever it is.

    Links are followed once, after all else, and not to where they would go in circles. Names that begin with a dot,
    empty files, other kinds and what cannot be opened are left out and counted.
    """
    if not root.is_dir():
        return FoundFiles((root,), {})
    walk = _Walk(root, kinds)
    return FoundFiles(tuple(sorted(walk.files, key=Path.as_posix)), dict(walk.left_out))


class _Walk:
    """One walk through a folder."""

    def __init__(self, root: Path, kinds: Collection[str]) -> None:
        self.files: list[Path] = []
        self.left_out: Counter[str] = Counter()
        self._kinds = kinds
        self._root = os.path.realpath(root)
        self._seen: set[str] = set()
        self._folders, self._links = deque([root]), deque[Path]()
        while self._folders or self._links:
            if self._folders:
                self._read_folder(self._folders.popleft())
            else:
                self._follow(self._links.popleft())

    def _read_folder(self, folder: Path) -> None:
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.left_out[f"folders that cannot be opened ({error.strerror})"] += 1
            return
        self._seen.add(os.path.realpath(folder))
        for entry in found:
            path = folder / entry.name
            if entry.name.startswith("."):
                self.left_out["with a dot before the name"] += 1
            elif entry.is_symlink():
                self._links.append(path)
            elif entry.is_dir():
                self._folders.append(path)
            else:
                self._take(path)

    def _follow(self, link: Path) -> None:
        real = os.path.realpath(link)
        if real in self._seen or self._root.startswith(real.rstrip(os.sep) + os.sep):
            self.left_out["links to what is read anyway"] += 1
        elif os.path.isdir(real):
            self._folders.append(link)
        else:
            self._take(link)

    def _take(self, path: Path) -> None:
        try:
            found = path.stat()
        except OSError:
            self.left_out["links that lead nowhere"] += 1
            return
        if not stat.S_ISREG(found.st_mode) or kind_of(path) not in self._kinds:
            kind = printable(path.suffix) or "no suffix" if stat.S_ISREG(found.st_mode) else "no file"
            self.left_out[f"of another kind ({kind})"] += 1
        elif not found.st_size:
            self.left_out["empty"] += 1
        else:
            self._seen.add(os.path.realpath(path))
            self.files.append(path)


def row_files(path: str, field: str = "path") -> FoundFiles:
    """The file that `path` names, or all .jsonl files of a folder. Raises ConfigError when there are none."""
    found = found_files(Path(os.path.expanduser(path)), ROWS)
    if not found.files or not found.files[0].is_file():
        raise ConfigError(f"names no .jsonl file: {printable(path)}", field)
    return found


def text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, from 1, and their ends as they are. Raises DataError."""
    with _named(file), _opened(file) as lines:
        for number, raw in enumerate(lines, start=1):
            line = _decoded(raw, file, number)
            yield number, line.removeprefix(_MARK) if number == 1 else line


def rows(files: Sequence[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object with the place it stands at. Raises DataError, with that place, for anything else."""
    for file in files:
        for where, value in _values(file):
            if not isinstance(value, dict):
                raise DataError(f"{where} is no JSON object")
            yield where, value


def _values(file: Path) -> Iterator[tuple[str, Any]]:
    """What stands in each line that is not empty, or in a list, and where."""
    name = printable(file)
    whole = _whole(file) if kind_of(file) == ".json" or _begins_a_list(file) else None
    if whole is not None:
        for number, value in enumerate(whole, start=1):
            where = f"{name}, row {number}"
            yield where, _with_whole_characters(value, where)
        return
    for number, line in text_lines(file):
        if line.strip():
            where = f"{name}, line {number}"
            value = _parsed(line, where)
            yield where, _with_whole_characters(value, where) if "\\u" in line else value


def _whole(file: Path) -> list[Any] | None:
    """The rows of one list; None where the file holds a row a line after all."""
    text = "".join(line for _, line in text_lines(file))
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        if not text.lstrip().startswith("[") and not isinstance(error, _Twice):
            return None
        place = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(f"{printable(file)}{place} is no JSON: {_cause(error)}") from None
    return value if isinstance(value, list) else [value]


def _begins_a_list(file: Path) -> bool:
    for _, line in text_lines(file):
        if line.strip():
            return line.lstrip().startswith("[")
    return False


def _parsed(line: str, where: str) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON: {_cause(error)}") from None


def _with_whole_characters(value: Any, where: str) -> Any:
    """The value; JSON can spell half a character, which no tokenizer and no file takes. Raises DataError."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise DataError(f"{where} holds half a character (\\u{half:04x}): a surrogate without its other half") from None
    return value


class _Twice(ValueError):
    """A key that an object has twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _Twice(f"has {twice!r} twice")
    return made


def _cause(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _decoded(raw: bytes, file: Path, number: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        other = _MARKS_OF_OTHERS.get(raw[:2]) if number == 1 else None
        cause = f"it looks like {other}" if other else f"byte {error.object[error.start]:#04x}"
        raise DataError(f"{printable(file)}, line {number} is not UTF-8 ({cause})") from None


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, without their compression."""
    if not file.is_dir() and file.exists() and not file.is_file():
        raise DataError(f"{printable(file)} is no file")
    require_fetched(file)
    with file.open("rb") as raw:
        packed = raw.peek(2)[:2] == _GZIP_MAGIC  # begins no UTF-8 text
    if not packed and file.suffix.lower() == GZIP and file.stat().st_size:
        raise DataError(f"{printable(file)} is not compressed by gzip, whatever its name says")
    with cast(BinaryIO, gzip.open(file)) if packed else file.open("rb") as content:
        yield content


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Errors of the disk and of damaged compression become a DataError with the file's name."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{printable(file)} cannot be read: {cause}") from None
