"""The tensors of a Hugging Face folder: one safetensors file, or shards that an index names.

Only tables of contents are read here. A shard is named by the index, so its name is a stranger's word: it must be
a plain name of a file in the folder. Pickles are never opened: they can run anything when they are read.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from deepseek_lab.checkpoint.huggingface.plain_json import read_json
from deepseek_lab.checkpoint.huggingface.tensor_file import Entry, TensorFile
from deepseek_lab.config import DataError

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class TensorFolder:
    """Where each tensor of a folder lies. Raises DataError, in one line, for a folder that is not whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file_of: dict[str, TensorFile] = {}
        if (path / SINGLE).is_file():
            file = TensorFile(path / SINGLE)
            self._file_of = dict.fromkeys(file.entries, file)
        elif (path / INDEX).is_file():
            self._read_shards(_weight_map(path / INDEX))
        else:
            raise DataError(_why_none(path))

    def _read_shards(self, weight_map: dict[str, str]) -> None:
        shards: dict[str, TensorFile] = {}
        for name, shard in weight_map.items():
            if shard not in shards:
                if not (self.path / shard).is_file():
                    raise DataError(f"{self.path / shard}: the index names this shard, but it is missing")
                shards[shard] = TensorFile(self.path / shard)
            if name not in shards[shard].entries:
                raise DataError(f"{self.path / shard}: holds no {name[:80]!r}, which the index promises")
            self._file_of[name] = shards[shard]
        for shard, file in shards.items():
            stray = next((name for name in file.entries if weight_map.get(name) != shard), None)
            if stray is not None:
                raise DataError(f"{file.path}: holds {stray[:80]!r}, of which the index does not know")

    @property
    def names(self) -> list[str]:
        """In the order of the files and of the bytes in them, so that they are read from end to end."""
        return list(self._file_of)

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def entry(self, name: str) -> Entry:
        """What the table of contents says of a tensor."""
        return self._file_of[name].entries[name]

    def file_of(self, name: str) -> Path:
        """For error messages."""
        return self._file_of[name].path

    def read(self, name: str, into: Tensor | None = None) -> Tensor:
        """As `TensorFile.read`."""
        return self._file_of[name].read(name, into)


def _weight_map(index: Path) -> dict[str, str]:
    """Name -> file, sorted as the files lie."""
    found: Any = read_json(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise DataError(f"{index}: holds no weight_map")
    for name, shard in found.items():
        if not isinstance(shard, str) or not shard.endswith(".safetensors") or not _plain(shard):
            raise DataError(f"{index}: {name[:80]!r} lies in {str(shard)[:80]!r}, which is no safetensors file here")
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _plain(name: str) -> bool:
    return name == Path(name).name and not name.startswith(".") and "\\" not in name and "\0" not in name


def _why_none(path: Path) -> str:
    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    if pickles:
        return f"{path}: {pickles[0]} is a pickle, which can run code when it is read; convert it to safetensors first"
    if shards := sorted(file for file in path.glob("*.safetensors") if file.is_file()):
        return f"{path}: holds {shards[0].name}, but neither {SINGLE} nor {INDEX}"
    return f"{path}: holds no weights ({SINGLE}, or shards with {INDEX})"
