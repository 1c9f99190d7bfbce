"""safetensors files: the library reads what is written here, and what it writes is read here, every dtype."""

import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from deepseek_lab.checkpoint.huggingface.tensor_file import Description, TensorFile, write_tensors
from deepseek_lab.config import DataError

SIDES = {
    "matrix": torch.randn(5, 7),
    "narrow": torch.randn(3, 4).to(torch.float8_e4m3fn),
    "half": torch.randn(2, 3, 4, dtype=torch.bfloat16),
    "other half": torch.randn(9).half(),
    "one": torch.tensor(2.5, dtype=torch.float64),
    "none": torch.empty(0, 4),
    "whole": torch.arange(4),
    "truth": torch.tensor([True, False]),
}


def equal(a, b):
    """Dtype, shape and bits."""
    bits = [one.reshape(-1).view(torch.uint8) for one in (a, b)]
    return (a.dtype, a.shape) == (b.dtype, b.shape) and torch.equal(*bits)


def test_the_library_reads_what_is_written(tmp_path):
    path = tmp_path / "x.safetensors"
    rows = [Description(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in SIDES.items()]
    write_tensors(path, rows, SIDES.__getitem__)
    assert all(equal(load_file(path)[name], tensor) for name, tensor in SIDES.items())
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_what_the_library_writes_is_read(tmp_path):
    save_file(SIDES, tmp_path / "x.safetensors", metadata={"anything": "at all"})
    file = TensorFile(tmp_path / "x.safetensors")
    assert file.entries.keys() == SIDES.keys()
    assert all(equal(file.read(name), tensor) for name, tensor in SIDES.items())


def test_numbers_go_straight_into_a_part_of_a_tensor(tmp_path):
    save_file({"w": torch.ones(2, 3)}, tmp_path / "x.safetensors")
    whole = torch.zeros(4, 3)
    TensorFile(tmp_path / "x.safetensors").read("w", whole[1:3])
    assert whole.tolist() == [[0] * 3, [1] * 3, [1] * 3, [0] * 3]


TABLES = {
    "no JSON": b"{nonsense}",
    "no JSON object": b"[1, 2]",
    "stands there twice": b'{"a": 1, "a": 2}',
    "not described by": b'{"a": {"dtype": "F32"}}',
    "unknown dtype": b'{"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}',
    "no proper shape": b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
    "another shape": b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
    "does not begin": b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
    "truncated": b'{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}',
    "8 bytes": b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
}


@pytest.mark.parametrize("named", TABLES)
def test_a_table_that_is_not_sound_is_refused(named, tmp_path):
    path = tmp_path / "x.safetensors"
    table = TABLES[named]
    path.write_bytes(struct.pack("<Q", len(table)) + table + bytes(8))
    with pytest.raises(DataError, match=named if named != "8 bytes" else "its table of contents says") as refused:
        TensorFile(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("length", [0, 1, 2**40, 2**63])
def test_a_length_that_cannot_be_takes_no_memory(length, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(DataError, match="truncated, or no safetensors file"):
        TensorFile(path)
