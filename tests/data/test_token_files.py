"""Token files hold the corpus exactly, are made once, whole or not at all, and tell when they are damaged."""

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepseek_lab.config import DataError
from deepseek_lab.data import whole_folder
from deepseek_lab.data.corpus import SPLITS, split_of
from deepseek_lab.data.token_files import TokenFiles, token_dtype
from deepseek_lab.text.tokenizer import BytePairEncoding

from .small import build, token_files, write_corpus


@pytest.fixture
def folder(tmp_path):
    write_corpus(tmp_path / "text")
    return tmp_path


def documents_in(files, split):
    opened = files.split(split)
    return [opened.tokens[a:b].tolist() for a, b in zip(opened.offsets, opened.offsets[1:], strict=False)]


def test_every_document_is_there_once_in_its_split(folder):
    files = token_files(folder)
    for split in SPLITS:
        mine = [path for path in sorted((folder / "text").iterdir()) if split_of(path.name, 0.2, 0.2) == split]
        eos = files.tokenizer.eos_id
        assert mine
        assert documents_in(files, split) == [[*path.read_bytes(), eos] for path in mine]
        counts = files.manifest["splits"][split]
        text = sum(path.stat().st_size for path in mine)
        assert counts == {"files": len(mine), "bytes": text, "tokens": text + len(mine)}


def test_the_tokenizer_is_trained_on_the_train_split_only(folder):
    names = {
        split: f"{split}_{i}.py"
        for i in range(100)
        for split in SPLITS
        if split_of(f"{split}_{i}.py", 0.2, 0.2) == split
    }
    for split, letter in zip(SPLITS, "XYZ", strict=True):
        (folder / "text" / names[split]).write_text(letter * 500)
    tokenizer = token_files(folder, BytePairEncoding.Config(vocab_size=300)).tokenizer
    assert len(tokenizer.encode("X" * 64)) < 32
    assert len(tokenizer.encode("Y" * 64)) == len(tokenizer.encode("Z" * 64)) == 64


def test_a_second_call_reads_what_the_first_wrote(folder, monkeypatch):
    first = token_files(folder)
    monkeypatch.setattr(TokenFiles, "make", None)
    second = token_files(folder, seq_len=4, batch_size=2, n_workers=1)
    assert (second.folder, second.manifest) == (first.folder, first.manifest)
    assert second.manifest["hash"] == first.folder.name


def test_the_key_follows_everything_the_files_depend_on(folder):
    def key(tokenizer=None, **changes):
        return token_files(folder, tokenizer, **changes).folder.name

    keys = [
        key(),
        key(validation_share=0.1),
        key(test_share=0.1),
        key(BytePairEncoding.Config(vocab_size=280)),
        key(BytePairEncoding.Config(vocab_size=281)),
    ]
    (folder / "text" / "file_000.py").write_text("changed")
    keys.append(key())
    (folder / "text" / "file_000.py").rename(folder / "text" / "renamed.py")
    keys.append(key())
    assert len(set(keys)) == len(keys)


def count_syncs(folder, monkeypatch):
    calls = []
    monkeypatch.setattr(whole_folder.os, "fsync", lambda handle: calls.append(handle))
    token_files(folder, cache_dir=str(folder / "counted"))
    return len(calls)


def test_a_full_disk_at_any_file_leaves_nothing_and_the_next_call_succeeds(folder, monkeypatch):
    cache = folder / "cache" / "data"
    n_syncs = count_syncs(folder, monkeypatch)
    assert n_syncs >= 8  # every file and the folder
    for failing in range(n_syncs - 1):  # the last is that of the parent, after the rename
        left = iter(range(failing))

        def fsync(handle, left=left):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(whole_folder.os, "fsync", fsync)
        with pytest.raises(OSError, match="No space left"):
            token_files(folder)
        assert os.listdir(cache) == []
    monkeypatch.undo()
    assert token_files(folder).manifest["splits"]["train"]["files"] > 0


def test_a_write_that_the_system_refuses_half_way_leaves_nothing(folder):
    (folder / "text" / "large.py").write_text("x" * 400_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"could not be written .File too large"):
            token_files(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(folder / "cache" / "data") == []


@pytest.mark.parametrize("damage", ["remove", "truncate"])
@pytest.mark.parametrize("name", ["train.tokens", "val.offsets.npy", "tokenizer.json", "manifest.json"])
def test_a_damaged_folder_is_named(folder, name, damage):
    path = token_files(folder).folder / name
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError) as caught:
        token_files(folder)
    assert str(path) in str(caught.value)
    assert f"delete the folder {path.parent}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "{}", '{"file_sizes": 3}'])
def test_a_foreign_manifest_is_named(folder, content):
    path = token_files(folder).folder / "manifest.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"manifest\.json cannot be read"):
        token_files(folder)


def test_processes_that_start_together_agree(folder):
    code = (
        "import sys; from pathlib import Path; from tests.data.small import token_files;"
        "print(token_files(Path(sys.argv[1])).folder)"
    )
    root = Path(__file__).parents[2]
    start = [sys.executable, "-c", code, str(folder)]
    running = [subprocess.Popen(start, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert told == {str(folder / "cache" / "data" / name) for name in os.listdir(folder / "cache" / "data")}


def test_ids_take_two_bytes_where_they_fit():
    assert token_dtype(1 << 16) == np.uint16
    assert token_dtype((1 << 16) + 1) == np.uint32


def test_the_manifest_is_plain_json(folder):
    data = build(folder)
    assert json.loads((data._sources[0].files.folder / "manifest.json").read_text()) == data.manifest
    assert {"hash", "content", "python", "tokenizer", "splits"} <= set(data.manifest)
