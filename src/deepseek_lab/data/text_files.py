"""A corpus from local files: plain text, jsonl or parquet; one file or a folder of them.

Tables are read by the `datasets` library (which keeps a memory-mapped copy in its own cache) and plain
text by paragraphs or lines, so a file need not fit into memory unless it is one document. Left out: names
on the hub (`hub`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepseek_lab.config import DataError, nearest
from deepseek_lab.data.corpus import Corpus, CorpusConfig, Document
from deepseek_lab.data.hugging_face import datasets_library

PLAIN = {".txt", ".md", ".py"}
TABLES = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}
KINDS = sorted(PLAIN | TABLES.keys())
Unit = Literal["document", "paragraph", "line"]


class TextFiles(Corpus):
    """Every row of tables and every unit of plain texts, named by file and number."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        path: str
        column: str = "text"  # of jsonl and parquet
        unit: Unit = "document"  # of plain text: what is held out, and ends with the end-of-text token

        def build(self) -> "TextFiles":
            return TextFiles(Path(self.path).expanduser(), self.column, self.unit)

    def __init__(self, path: Path, column: str, unit: Unit) -> None:
        self.path = path
        self.column = column
        self.unit = unit

    def files(self) -> list[Path]:
        """The files to read, sorted; empty ones are left out. Raises DataError when there are none."""
        if not self.path.exists():
            raise DataError(f"{self.path} does not exist")
        if self.path.is_file() and (self.path.suffix not in PLAIN | TABLES.keys() or not self.path.stat().st_size):
            cause = f"is none of {', '.join(KINDS)}" if self.path.stat().st_size else "is empty"
            raise DataError(f"{self.path} {cause}")
        found = [self.path] if self.path.is_file() else self.path.rglob("*")
        files = [path for path in found if path.suffix in PLAIN | TABLES.keys() and path.is_file()]
        files = sorted((path for path in files if path.stat().st_size), key=Path.as_posix)
        if not files:
            raise DataError(f"{self.path} holds no text: no file of {', '.join(KINDS)} that is not empty")
        return files

    def documents(self) -> Iterator[Document]:
        root = self.path.parent if self.path.is_file() else self.path
        for file in self.files():
            name = file.relative_to(root).as_posix()
            for number, text in enumerate(self._texts(file)):
                if text:
                    yield Document(f"{name}#{number}", text)

    def _texts(self, file: Path) -> Iterator[str]:
        """The texts of one file. Raises DataError naming it when it cannot be read."""
        if file.suffix in TABLES:
            yield from self._column(file)
            return
        try:
            yield from _units(file, self.unit)
        except UnicodeDecodeError as error:
            raise DataError(f"{file} is not UTF-8: {error}") from None

    def _column(self, file: Path) -> Iterator[str]:
        """The wanted column of every row of a table."""
        table = _table(file)
        if self.column not in table.column_names:
            hint = nearest(self.column, table.column_names)
            raise DataError(f"{file} has no column '{self.column}', only {', '.join(table.column_names)}{hint}")
        for rows in table.select_columns([self.column]).iter(batch_size=1000):
            for text in rows[self.column]:
                if not isinstance(text, str):
                    raise DataError(f"{file}: column '{self.column}' holds {text!r}, which is no text")
                yield text


def _units(file: Path, unit: Unit) -> Iterator[str]:
    """The text of a file in parts, no character lost; a paragraph ends behind its empty lines."""
    if unit == "document":
        yield file.read_bytes().decode("utf-8")
        return
    with file.open("rb") as lines:
        part = ""
        for line in (raw.decode("utf-8") for raw in lines):
            if part and (unit == "line" or (line.strip() and not part.rpartition("\n")[0].rpartition("\n")[2].strip())):
                yield part
                part = ""
            part += line
        yield part


def _table(file: Path) -> Any:
    """A jsonl or parquet file as a memory-mapped table. Raises DataError."""
    datasets = datasets_library()
    try:
        return datasets.load_dataset(TABLES[file.suffix], data_files=str(file), split="train")
    except (datasets.exceptions.DatasetGenerationError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {str(error.__cause__ or error).splitlines()[0]}") from None
