"""One safetensors file: a table of contents in JSON, then the numbers of every tensor, end to end.

Eight bytes hold the length of the table; the table names each tensor with its dtype, shape and place. Numbers are
read straight into the memory that shall hold them, so that a model takes no second copy while it is loaded, and
nothing in such a file can be executed. Every table is checked whole before a number is read: an overlap, a gap or
a file of another length is an error.

Left out: mapping files into memory (a mapped file counts as memory of the process), and big-endian machines.
"""

import json
import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from deepseek_lab.checkpoint.atomic import write_atomically
from deepseek_lab.checkpoint.huggingface.plain_json import NotPlainJson, parse
from deepseek_lab.config import DataError
from deepseek_lab.input_files import require_fetched

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
LONGEST_TABLE = 100_000_000
"""Bytes of the largest table of contents that the format allows."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: where its bytes lie, from the file's beginning."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def n_bytes(self) -> int:
        """Of its numbers."""
        return self.end - self.start


class TensorFile:
    """The tensors of one file. Raises DataError, in one line, for a file that is not whole and sound."""

    def __init__(self, path: Path) -> None:
        self.path = path
        require_fetched(path)
        try:
            self._file: BinaryIO = path.open("rb", buffering=0)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None
        self.entries = {entry.name: entry for entry in self._contents()}

    def _contents(self) -> list[Entry]:
        size = self.path.stat().st_size
        prefix = self._file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(LONGEST_TABLE, size - 8):
            raise DataError(f"{self.path}: truncated, or no safetensors file at all")
        try:
            table = parse(self._file.read(length))
        except NotPlainJson as error:
            raise DataError(f"{self.path}: its table of contents is damaged ({error})") from None
        table.pop("__metadata__", None)
        entries = sorted((self._entry(name, row, 8 + length) for name, row in table.items()), key=_place)
        end = 8 + length
        for entry in entries:
            if entry.start != end:
                raise DataError(f"{self.path}: {entry.name} does not begin where the tensor before it ends")
            end = entry.end
        if end != size:
            raise DataError(f"{self.path}: {size} bytes, but its table of contents says {end}; truncated?")
        return entries

    def _entry(self, name: str, row: Any, offset: int) -> Entry:
        where = f"{self.path}: {name[:80]!r}"
        if not isinstance(row, dict) or set(row) != {"dtype", "shape", "data_offsets"}:
            raise DataError(f"{where} is not described by dtype, shape and data_offsets")
        shape, offsets = row["shape"], row["data_offsets"]
        if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
            raise DataError(f"{where} has no proper shape and place")
        dtype = DTYPES.get(row["dtype"]) if isinstance(row["dtype"], str) else None
        if dtype is None:
            raise DataError(f"{where} has the unknown dtype {str(row['dtype'])[:20]!r}")
        if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
            raise DataError(f"{where} has another shape than its {offsets[1] - offsets[0]} bytes hold")
        return Entry(name, dtype, tuple(shape), offset + offsets[0], offset + offsets[1])

    def read(self, name: str, into: Tensor | None = None) -> Tensor:
        """The tensor on the CPU; `into`, when given, is contiguous and has its dtype and shape."""
        entry = self.entries[name]
        tensor = torch.empty(entry.shape, dtype=entry.dtype) if into is None else into
        assert (tensor.dtype, tuple(tensor.shape)) == (entry.dtype, entry.shape)
        if tensor.numel():
            self._fill(as_bytes(tensor).numpy().data, entry)
        return tensor

    def _fill(self, room: memoryview, entry: Entry) -> None:
        self._file.seek(entry.start)
        done = 0
        while done < len(room):  # one read gives 2 GB at most
            got = self._file.readinto(room[done:])  # type: ignore[attr-defined]
            if not got:
                raise DataError(f"{self.path}: ends within {entry.name}")
            done += got


def _place(entry: Entry) -> tuple[int, int]:
    return entry.start, entry.end


def _sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**63 for v in values)


def as_bytes(tensor: Tensor) -> Tensor:
    """The memory of a contiguous tensor, as one row of bytes."""
    assert tensor.is_contiguous()
    return tensor.detach().reshape(-1).view(torch.uint8)


@dataclass(frozen=True)
class Description:
    """A tensor that is to be written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_tensors(path: Path, tensors: Iterable[Description], produce: Callable[[str], Tensor]) -> None:
    """Writes a file tensor by tensor: `produce` is asked for each when its turn comes. Raises OSError."""
    rows = list(tensors)
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for row in rows:
        place = [end, end + row.n_bytes]
        table[row.name] = {"dtype": CODES[row.dtype], "shape": list(row.shape), "data_offsets": place}
        end += row.n_bytes
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def write(file: BinaryIO) -> None:
        file.write(struct.pack("<Q", len(text)) + text)
        for row in rows:
            tensor = produce(row.name).detach().to("cpu", row.dtype).contiguous()
            assert tuple(tensor.shape) == row.shape, row.name
            if tensor.numel():
                file.write(as_bytes(tensor).numpy().data)

    write_atomically(path, write)
