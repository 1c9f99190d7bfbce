"""Shards of a stream are its tokens in a row, from wherever a process begins, and one process makes them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepseek_lab.config import DataError
from deepseek_lab.data import stream_tokens
from deepseek_lab.data.document_encoder import DocumentEncoder
from deepseek_lab.data.token_shards import TokenShards
from deepseek_lab.text.tokenizer import Bytes

from .small import ListStream

TEXTS = [f"<{number}" + "x" * (number * 7 % 23) for number in range(40)]
TOKENIZER = Bytes.Config().build()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(stream_tokens, "DOCUMENTS_PER_BATCH", 5)


def shards(folder, texts=TEXTS, start=3, **settings):
    encoder = DocumentEncoder(TOKENIZER, fim_rate=0.5)
    return TokenShards(folder, ListStream(texts, **settings), encoder, {"number": start})


def endless(start=3, passes=4):
    """The tokens of the stream, and where documents start."""
    corpus, encoder = ListStream(TEXTS), DocumentEncoder(TOKENIZER, fim_rate=0.5)
    documents = [d.ids for d in encoder.encode((d, "train") for d in corpus.reader({"number": start}))] * passes
    return np.concatenate(documents), np.cumsum([0, *(len(ids) for ids in documents)])


def test_shards_are_the_stream_cut_evenly_and_documents_are_known(tmp_path):
    made, (tokens, starts) = shards(tmp_path), endless()
    for index in range(60):
        split, first = made.shard(index), 20 * index
        assert split.tokens.tolist() == tokens[first : first + 20].tolist()
        inside = starts[(starts > first) & (starts < first + 20)] - first
        assert split.offsets.tolist() == [0, *inside.tolist(), 20]


@pytest.mark.parametrize("begin", [0, 1, 7, 8, 33])
def test_another_process_goes_on_anywhere(tmp_path, begin):
    tokens, _ = endless()
    for index in range(begin):
        shards(tmp_path).shard(index)
    fresh = shards(tmp_path)
    assert fresh.shard(begin).tokens.tolist() == tokens[20 * begin : 20 * begin + 20].tolist()
    assert fresh.shard(begin + 2).tokens.tolist() == tokens[20 * begin + 40 : 20 * begin + 60].tolist()


def test_going_on_reads_no_more_than_a_batch_of_what_came_before(tmp_path):
    for index in range(12):
        shards(tmp_path).shard(index)
    fresh = shards(tmp_path)
    fresh.shard(12)
    assert fresh._corpus.read <= 3 * 5


def test_no_more_is_read_than_is_needed(tmp_path):
    made = shards(tmp_path)
    made.shard(0)
    assert made._corpus.read <= 2 * 5


def test_dropped_shards_are_made_again(tmp_path):
    tokens, _ = endless()
    made = shards(tmp_path, window_shards=1, keep_shards=3)
    for index in range(10):
        made.shard(index)
    assert sorted(path.name for path in tmp_path.glob("shard-*")) == [f"shard-{i:06d}" for i in (7, 8, 9)]
    assert shards(tmp_path, window_shards=1, keep_shards=3).shard(2).tokens.tolist() == tokens[40:60].tolist()


def test_a_kill_between_note_and_shard_costs_nothing(tmp_path):
    shards(tmp_path).shard(4)
    shutil.rmtree(tmp_path / "shard-000004")
    assert shards(tmp_path).shard(4).tokens.tolist() == endless()[0][80:100].tolist()


def test_a_damaged_shard_is_named(tmp_path):
    shards(tmp_path).shard(0)
    (tmp_path / "shard-000000" / "train.tokens").write_bytes(b"ab")
    with pytest.raises(DataError, match="shard-000000 is damaged: delete it"):
        shards(tmp_path).shard(0)


@pytest.mark.parametrize("texts", [[], ["a", "b", "c"]])
def test_a_stream_without_training_text_is_refused(tmp_path, texts):
    with pytest.raises(DataError, match="list ends within the documents that are held out: lower held_out_documents"):
        shards(tmp_path, texts, start=len(texts)).shard(0)


def test_processes_that_want_the_same_shards_agree(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.data.test_token_shards import shards;"
        "made = shards(Path(sys.argv[1]));"
        "print([made.shard(i).tokens.tolist() for i in range(25)])"
    )
    start = [sys.executable, "-c", code, str(tmp_path)]
    root = Path(__file__).parents[2]
    running = [subprocess.Popen(start, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate()[0].strip() for process in running]
    tokens = endless()[0]
    assert told == [str([tokens[20 * i : 20 * i + 20].tolist() for i in range(25)])] * 2
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".shard")]
