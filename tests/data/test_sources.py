"""Samples of a stream: every one once a window, a pure function of their number, wherever one begins."""

import numpy as np
import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.data.preparation import Preparation
from deepseek_lab.data.standard_library import StandardLibrary
from deepseek_lab.text.tokenizer import BytePairEncoding, Bytes

from .small import ListStream

TEXTS = [f"{number}" + "y" * (number * 5 % 17) for number in range(120)]


def source(folder, seed=1, seq_len=4, tokenizer=None, n_held_out=40, **settings):
    how = Preparation(
        cache=folder,
        validation_share=0.1,
        test_share=0.3,
        fim_rate=0.0,
        punctuation_split_rate=0.0,
        tokenizer_bytes=50,
        n_workers=1,
    )
    corpus = ListStream(TEXTS, held_out_documents=n_held_out, **settings)
    built = how.tokenizer(tokenizer or Bytes.Config(), {"corpus": corpus})
    return how.source("corpus", StandardLibrary.Config(), corpus, built, seq_len, seed)


def rows(batch):
    return [tuple(row) for row in batch.tokens_BT1.tolist()]


def test_a_window_holds_each_of_its_samples_once(tmp_path):
    stream = source(tmp_path)
    assert stream.per_shard == 4  # 20 tokens, of which the last needs a next one
    for window in range(3):
        got = rows(stream.training(8 * window, 8))
        shards = [stream.shards.shard(2 * window + i).tokens for i in range(2)]
        in_order = [tuple(tokens[4 * i : 4 * i + 5].tolist()) for tokens in shards for i in range(4)]
        assert sorted(got) == sorted(in_order)
    assert got != in_order


def test_samples_depend_on_their_number_and_the_seed_alone(tmp_path):
    whole = rows(source(tmp_path / "a").training(0, 60))
    other = source(tmp_path / "b")
    assert rows(other.training(37, 5)) == whole[37:42]
    assert rows(other.training(3, 20)) == whole[3:23]
    assert rows(source(tmp_path / "a", seed=2).training(0, 60)) != whole


def test_training_begins_before_the_stream_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("deepseek_lab.data.stream_tokens.DOCUMENTS_PER_BATCH", 4)
    stream = source(tmp_path)
    stream.shards._corpus.read = 0
    stream.training(0, 4)
    assert stream.shards._corpus.read <= 12
    assert len(list((stream.files.folder).glob("shard-*"))) == 2


def test_the_beginning_is_held_out_and_never_trained_on(tmp_path):
    stream = source(tmp_path, shard_tokens=200, window_shards=1)
    eos = stream.files.tokenizer.eos_id
    held_out = {split: stream.files.split(split).tokens for split in ("val", "test", "train")}
    documents = sorted(bytes(part.tolist()).decode() for s in ("val", "test") for part in parts_of(held_out[s], eos))
    assert documents == sorted(TEXTS[:40])
    assert len(held_out["train"]) == 0
    assert 4 <= len(parts_of(held_out["val"], eos)) <= 18  # a quarter of 40
    first = stream.shards.shard(0).tokens
    assert bytes(first[: len(TEXTS[40])].tolist()).decode() == TEXTS[40]


def parts_of(tokens, eos):
    ends = np.flatnonzero(tokens == eos)
    return [part[part != eos] for part in np.split(tokens, ends + 1)[:-1]]


def test_a_tokenizer_learns_from_the_beginning_of_the_training_text(tmp_path):
    built = source(tmp_path, tokenizer=BytePairEncoding.Config(vocab_size=270)).files.tokenizer
    expected = BytePairEncoding.Config(vocab_size=270).build(TEXTS[40 : 40 + n_until(50)])
    assert built.fingerprint() == expected.fingerprint()


def test_a_stream_whose_training_text_begins_elsewhere_has_a_tokenizer_of_its_own(tmp_path):
    config = BytePairEncoding.Config(vocab_size=270)
    first = source(tmp_path, tokenizer=config).files.tokenizer.fingerprint()
    assert source(tmp_path, tokenizer=config, n_held_out=70).files.tokenizer.fingerprint() != first
    assert source(tmp_path, tokenizer=config).files.tokenizer.fingerprint() == first


def n_until(n_bytes):
    """How many documents from 40 on reach `n_bytes`."""
    sizes = np.cumsum([len(text) for text in TEXTS[40:]])
    return int(np.argmax(sizes >= n_bytes)) + 1


def test_a_shard_shorter_than_a_sequence_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.seq_len = 20 is longer than a shard"):
        source(tmp_path, seq_len=20)
