"""A corpus from local files: plain text, jsonl or parquet, gzipped or not; one file or a folder of them.

Files are read as they are needed, plain text by paragraphs or lines and tables by rows, so a file need not fit into
memory unless it is one document. A file that holds the same texts as one before it, under whatever name, is held out
with that one. Which files of a folder are read is the rule of `input_files`. Left out: names on the hub (`hub`).
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from deepseek_lab.config import DataError, nearest
from deepseek_lab.data.corpus import Corpus, CorpusConfig, Document
from deepseek_lab.input_files import found_files, kind_of, printable, rows, text_lines

PLAIN = frozenset({".txt", ".md", ".py"})
OF_ROWS = frozenset({".json", ".jsonl"})
KINDS = PLAIN | OF_ROWS | {".parquet"}
_ROWS_AT_ONCE = 1000
Unit = Literal["document", "paragraph", "line"]


class TextFiles(Corpus):
    """Every row of tables and every unit of plain texts, named by file and number."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        path: str
        column: str = "text"  # of jsonl and parquet
        unit: Unit = "document"  # of plain text: what is held out, and ends with the end-of-text token

        def build(self) -> "TextFiles":
            return TextFiles(Path(os.path.expanduser(self.path)), self.column, self.unit)

    def __init__(self, path: Path, column: str, unit: Unit) -> None:
        self.path = path
        self.column = column
        self.unit = unit

    @cached_property
    def _found(self) -> tuple[list[Path], str]:
        """The files to read, sorted, and what was left out. Raises DataError when there are none."""
        place, kinds = printable(self.path), ", ".join(sorted(KINDS))
        if not self.path.exists():
            raise DataError(f"{place} does not exist")
        if not self.path.is_dir() and kind_of(self.path) not in KINDS:
            raise DataError(f"{place} is none of {kinds}")
        if self.path.is_file() and not self.path.stat().st_size:
            raise DataError(f"{place} is empty")
        found = found_files(self.path, KINDS)
        if not found.files:
            left = f" ({found.note})" if found.note else ""
            raise DataError(f"{place} holds no text: no file of {kinds} that is not empty{left}")
        return list(found.files), found.note

    @property
    def notes(self) -> tuple[str, ...]:
        return (note,) if (note := self._found[1]) else ()

    @cached_property
    def _survey(self) -> tuple[str, dict[Path, Path]]:
        """One reading of everything: a hash of all names and texts, and of each file that is a copy the original."""
        whole, first_with, copies = hashlib.sha256(), dict[bytes, Path](), dict[Path, Path]()
        for file in self._found[0]:
            content = hashlib.sha256()
            for number, text in enumerate(self._texts(file)):
                if text:
                    for part in (f"{self._name(file)}#{number}", text):
                        whole.update(hashlib.sha256(part.encode()).digest())
                    content.update(hashlib.sha256(text.replace("\r\n", "\n").encode()).digest())
            original = first_with.setdefault(content.digest(), file)
            if original != file:
                copies[file] = original
        for file, original in copies.items():
            whole.update(f"{self._name(file)} with {self._name(original)}".encode())
        return whole.hexdigest(), copies

    @cached_property
    def identity(self) -> str:
        return self._survey[0]

    def documents(self) -> Iterator[Document]:
        for file in self._found[0]:
            name, original = self._name(file), self._survey[1].get(file)
            for number, text in enumerate(self._texts(file)):
                if text:
                    with_original = None if original is None else f"{self._name(original)}#{number}"
                    yield Document(f"{name}#{number}", text, held_out_with=with_original)

    def _name(self, file: Path) -> str:
        """What tells a file from others of the corpus, wherever the corpus lies."""
        return printable(file.relative_to(self.path).as_posix() if file != self.path else file.name)

    def _texts(self, file: Path) -> Iterator[str]:
        """The texts of one file. Raises DataError naming it when it cannot be read."""
        if kind_of(file) in PLAIN:
            yield from _units(file, self.unit)
            return
        table = rows([file]) if kind_of(file) in OF_ROWS else _parquet_rows(file, self.column)
        for where, row in table:
            if self.column not in row:
                hint = nearest(self.column, row)
                raise DataError(f"{where} has no column '{self.column}', only {', '.join(row)}{hint}")
            text = row[self.column]
            if not isinstance(text, str):
                raise DataError(f"{where}: column '{self.column}' holds {text!r}, which is no text")
            yield text


def _units(file: Path, unit: Unit) -> Iterator[str]:
    """The text of a file in parts, no character lost; a paragraph ends behind its empty lines."""
    if unit == "document":
        yield "".join(line for _, line in text_lines(file))
        return
    part, ends = "", False
    for _, line in text_lines(file):
        if part and (unit == "line" or (ends and line.strip())):
            yield part
            part = ""
        part, ends = part + line, not line.strip()
    yield part


def _parquet_rows(file: Path, column: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """One column of a parquet file by rows; all names, without a value, where there is no such column."""
    import pyarrow
    from pyarrow import parquet

    place = printable(file)
    try:
        with parquet.ParquetFile(file) as table:
            names = table.schema_arrow.names
            if column not in names:
                yield place, dict.fromkeys(names)
                return
            number = 0
            for batch in table.iter_batches(_ROWS_AT_ONCE, columns=[column]):
                for text in batch.column(column).to_pylist():
                    number += 1
                    yield f"{place}, row {number}", {column: text}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{place} cannot be read: {(str(error) or type(error).__name__).splitlines()[0]}") from None
