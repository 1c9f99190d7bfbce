"""Token files: a corpus encoded once, on disk, one flat file of ids a split.

A folder holds, for each split, `<split>.tokens` (ids in a row, uint16 where the vocabulary allows, every
document followed by the end-of-text token) and `<split>.offsets.npy` (where each document starts, and the
end), with `tokenizer.json` and `manifest.json`. The manifest is what a run records of its data, and the
sizes in it tell a damaged folder. Reading is by memory map: nothing is loaded, and processes share it.
Making them holds a few documents at a time, so a corpus may be larger than memory.
"""

import io
import json
import platform
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import DataError
from deepseek_lab.data.corpus import SPLITS, Document, Split
from deepseek_lab.data.document_encoder import DocumentEncoder, EncodedDocument
from deepseek_lab.data.progress import corpus_progress
from deepseek_lab.data.whole_folder import whole_folder
from deepseek_lab.text.tokenizer import Tokenizer

FORMAT = 2
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest of uint16 and uint32 that holds every id."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def tokens_file(split: Split) -> str:
    """The name of the file of ids."""
    return f"{split}.tokens"


def offsets_file(split: Split) -> str:
    """The name of the file of document starts."""
    return f"{split}.offsets.npy"


@dataclass(frozen=True)
class TokenSplit:
    """One split, memory-mapped: document d is `tokens[offsets[d] : offsets[d + 1]]`, end-of-text included."""

    tokens: NDArray[Any]
    offsets: NDArray[np.int64]


def save_offsets(path: Path, offsets: "array[int] | NDArray[np.int64]") -> None:
    """Writes where documents start, in a way that knows why the disk refuses (numpy's own does not)."""
    content = io.BytesIO()
    np.save(content, np.asarray(offsets, dtype=np.int64))
    path.write_bytes(content.getbuffer())


class _SplitWriter:
    """Appends encoded documents to the files of one split."""

    def __init__(self, folder: Path, split: Split, vocab_size: int) -> None:
        self._offsets_path = folder / offsets_file(split)
        self._file: BinaryIO = (folder / tokens_file(split)).open("wb")
        self._dtype = token_dtype(vocab_size)
        self._offsets = array("q", [0])
        self._bytes = 0

    def add(self, document: EncodedDocument) -> None:
        """Writes one document."""
        # Not tofile: on a full disk numpy's own writing raises an OSError without errno or reason.
        self._file.write(document.ids.astype(self._dtype).tobytes())
        self._offsets.append(self._offsets[-1] + len(document.ids))
        self._bytes += document.n_bytes

    def finish(self) -> dict[str, int]:
        """Writes the offsets and says what the split holds."""
        self.close()
        save_offsets(self._offsets_path, self._offsets)
        return {"files": len(self._offsets) - 1, "bytes": self._bytes, "tokens": self._offsets[-1]}

    def close(self) -> None:
        """Closes the file of ids; safe to call twice."""
        self._file.close()


class TokenFiles:
    """An opened folder: its manifest, its tokenizer and its splits."""

    def __init__(self, folder: Path) -> None:
        """Raises DataError, naming the file, when the folder is damaged."""
        self.folder = folder
        self.manifest: dict[str, Any] = _checked_manifest(folder)
        self.tokenizer = Tokenizer.load(folder / TOKENIZER)

    @classmethod
    def make(
        cls,
        folder: Path,
        documents: Callable[[], Iterable[tuple[Document, Split]]],
        encoder: DocumentEncoder,
        description: dict[str, Any],
    ) -> Self:
        """Encodes every document (they are read twice, the first time to be counted) and opens the result.

        `description` goes into the manifest. Raises OSError when the disk refuses, leaving nothing behind.
        """
        with whole_folder(folder) as partial:
            encoder.tokenizer.save(partial / TOKENIZER)
            splits = _encode(partial, documents, encoder)
            vocabulary = {"hash": encoder.tokenizer.fingerprint(), "vocab_size": encoder.tokenizer.vocab_size}
            manifest = description | {
                "python": platform.python_version(),
                "tokenizer": vocabulary,
                "splits": splits,
                "file_sizes": {path.name: path.stat().st_size for path in sorted(partial.iterdir())},
            }
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        return cls(folder)

    def split(self, split: Split) -> TokenSplit:
        """The memory-mapped tokens and offsets of one split."""
        vocab_size = self.tokenizer.vocab_size
        return open_split(self.folder / tokens_file(split), self.folder / offsets_file(split), vocab_size)


def open_split(tokens_path: Path, offsets_path: Path, vocab_size: int) -> TokenSplit:
    """Two files as a memory-mapped split."""
    dtype = token_dtype(vocab_size)
    # asarray: a plain view of the map, whose own class makes small gathers slow. No map of 0 bytes exists.
    tokens = np.asarray(np.memmap(tokens_path, dtype, "r")) if tokens_path.stat().st_size else np.empty(0, dtype)
    return TokenSplit(tokens, np.load(offsets_path))


def _encode(
    folder: Path, documents: Callable[[], Iterable[tuple[Document, Split]]], encoder: DocumentEncoder
) -> dict[str, dict[str, int]]:
    """Writes the files of every split; returns their counts."""
    writers = {split: _SplitWriter(folder, split, encoder.tokenizer.vocab_size) for split in SPLITS}
    try:
        total = sum(len(document.text.encode()) for document, _ in documents())
        with corpus_progress("encoding the corpus", total) as advance:
            for encoded in encoder.encode(documents()):
                writers[encoded.split].add(encoded)
                advance(encoded.n_bytes)
        return {split: writer.finish() for split, writer in writers.items()}
    finally:
        for writer in writers.values():
            writer.close()


def _checked_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, after every file it lists was found with its size."""
    remedy = f"delete the folder {folder} and run again: it is made anew"
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        sizes: dict[str, int] = dict(manifest["file_sizes"])
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        cause = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise DataError(f"{folder / MANIFEST} {cause}; {remedy}") from None
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing; {remedy}")
        if path.stat().st_size != size:
            raise DataError(f"{path} has {path.stat().st_size} bytes instead of {size}; {remedy}")
    return manifest
