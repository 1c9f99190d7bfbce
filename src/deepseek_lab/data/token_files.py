"""Token files: a corpus encoded once, on disk, one flat file of ids a split.

A folder holds, for each split, `<split>.tokens` (ids in a row, uint16 where the vocabulary allows, every
document followed by the end-of-text token) and `<split>.offsets.npy` (where each document starts, and the
end), with `tokenizer.json` and `manifest.json`. The manifest is what a run records of its data, and the
sizes in it tell a damaged folder. Reading is by memory map: nothing is loaded, and processes share it.
"""

import io
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import DataError
from deepseek_lab.data.corpus import SPLITS, Corpus, Split
from deepseek_lab.data.encoding import encode_all
from deepseek_lab.data.progress import corpus_progress
from deepseek_lab.data.whole_folder import whole_folder
from deepseek_lab.text.tokenizer import Tokenizer, TokenizerConfig

FORMAT = 1
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


class _SplitWriter:
    """Appends encoded documents to the files of one split."""

    def __init__(self, folder: Path, split: Split, tokenizer: Tokenizer) -> None:
        self._offsets_path = folder / offsets_file(split)
        self._file: BinaryIO = (folder / tokens_file(split)).open("wb")
        self._dtype = token_dtype(tokenizer.vocab_size)
        self._eos_id = tokenizer.eos_id
        self._offsets = [0]
        self._bytes = 0

    def add(self, ids: list[int], n_bytes: int) -> None:
        """Writes one document and its end-of-text token."""
        # Not tofile: on a full disk numpy's own writing raises an OSError without errno or reason.
        self._file.write(np.array([*ids, self._eos_id], dtype=self._dtype).tobytes())
        self._offsets.append(self._offsets[-1] + len(ids) + 1)
        self._bytes += n_bytes

    def finish(self) -> dict[str, int]:
        """Writes the offsets and says what the split holds."""
        self.close()
        content = io.BytesIO()
        np.save(content, np.array(self._offsets, dtype=np.int64))
        self._offsets_path.write_bytes(content.getbuffer())
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
        corpus: Corpus,
        split_of: Callable[[str], Split],
        tokenizer_config: TokenizerConfig,
        n_workers: int,
        description: dict[str, Any],
    ) -> Self:
        """Trains the tokenizer on the train split, encodes every document, opens the result.

        `description` goes into the manifest. Raises OSError when the disk refuses, leaving nothing behind.
        """
        with whole_folder(folder) as partial:
            train_texts = (d.text for d in corpus.documents() if split_of(d.name) == "train")
            tokenizer = tokenizer_config.build(train_texts)
            tokenizer.save(partial / TOKENIZER)
            splits = _encode(partial, corpus, split_of, tokenizer, n_workers)
            manifest = description | {
                "python": platform.python_version(),
                "tokenizer": {"hash": tokenizer.fingerprint(), "vocab_size": tokenizer.vocab_size},
                "splits": splits,
                "file_sizes": {path.name: path.stat().st_size for path in sorted(partial.iterdir())},
            }
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        return cls(folder)

    def split(self, split: Split) -> TokenSplit:
        """The memory-mapped tokens and offsets of one split."""
        path = self.folder / tokens_file(split)
        dtype = token_dtype(self.tokenizer.vocab_size)
        # asarray: a plain view of the map, whose own class makes small gathers slow. No map of 0 bytes exists.
        tokens = np.asarray(np.memmap(path, dtype, "r")) if path.stat().st_size else np.empty(0, dtype)
        return TokenSplit(tokens, np.load(self.folder / offsets_file(split)))


def _encode(
    folder: Path, corpus: Corpus, split_of: Callable[[str], Split], tokenizer: Tokenizer, n_workers: int
) -> dict[str, dict[str, int]]:
    """Writes the files of every split; returns their counts."""
    writers = {split: _SplitWriter(folder, split, tokenizer) for split in SPLITS}
    try:
        sizes = [(d.name, len(d.text.encode())) for d in corpus.documents()]
        encoded = encode_all(tokenizer, (d.text for d in corpus.documents()), n_workers)
        with corpus_progress("encoding the corpus", sum(size for _, size in sizes)) as advance:
            for (name, size), ids in zip(sizes, encoded, strict=True):
                writers[split_of(name)].add(ids, size)
                advance(size)
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
