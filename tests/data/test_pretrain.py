"""Steps are a pure function of (seed, step); ranks and micro-batches only cut them."""

import random
import sysconfig
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.corpus import SPLITS
from deepseek_lab.data.pretrain import PretrainData
from deepseek_lab.data.standard_library import StandardLibrary
from deepseek_lab.data.trigram import trigram_bits_per_byte
from deepseek_lab.text.tokenizer import SMALLEST_VOCABULARY, BytePairEncoding, Bytes

from .small import VOCABULARY, build, config, write_corpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    write_corpus(path / "text")
    return path


def rows(batches):
    return [row for micro in batches for row in micro.tokens_BT1.tolist()]


def test_a_step_is_the_same_again_later_and_in_another_object(folder):
    data = build(folder)
    first = [rows(data.step_batch(k)) for k in range(40)]
    fresh = build(folder)
    assert [rows(fresh.step_batch(k)) for k in reversed(range(40))] == first[::-1]
    assert rows(build(folder, seed=2).step_batch(0)) != first[0]


def test_no_random_state_is_touched(folder):
    def states():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    before = states()
    data = build(folder)
    data.step_batch(0)
    list(data.validation_batches())
    assert states() == before


@pytest.mark.parametrize("micro_batch_size", [None, 1, 2])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_and_micro_batches_together_see_the_step_of_one_rank(folder, micro_batch_size, world_size):
    alone = build(folder)
    data = build(folder, micro_batch_size=micro_batch_size)
    for k in (0, 7, 31):
        parts = [data.step_batch(k, rank, world_size) for rank in range(world_size)]
        assert rows(chain(*parts)) == rows(alone.step_batch(k))
        assert len({len(part) for part in parts}) == 1
        assert all(len(micro.tokens_BT1) == data.micro_batch_size(world_size) for part in parts for micro in part)


def test_every_sample_is_seen_once_an_epoch(folder):
    data = build(folder, batch_size=5)
    train = data._sources[0].train
    steps = train.n_samples * 3 // 5
    seen = rows(chain(*map(data.step_batch, range(steps))))
    whole = [seen[start : start + train.n_samples] for start in range(0, len(seen), train.n_samples)]
    in_order = rows([train.gather(np.arange(train.n_samples))])
    assert all(sorted(epoch) == sorted(in_order) for epoch in whole[:2])


RAMP = {"batch_size_start": 4, "batch_size": 12, "batch_ramp_steps": 6}


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("micro_batch_size", [None, 1])
def test_a_ramp_reads_the_same_samples_in_steps_of_other_sizes(folder, world_size, micro_batch_size):
    data = build(folder, **RAMP, micro_batch_size=micro_batch_size)
    steps = [rows(chain(*(data.step_batch(k, rank, world_size) for rank in range(world_size)))) for k in range(9)]
    assert [len(step) for step in steps] == [4, 4, 4, 8, 8, 8, 12, 12, 12]
    assert list(chain(*steps)) == rows(chain(*map(build(folder, batch_size=9).step_batch, range(8))))
    assert rows(build(folder, **RAMP).step_batch(7)) == steps[7]
    assert [data.config.tokens_in(n) for n in (0, 1, 4, 9)] == [0, 4 * 16, 20 * 16, 72 * 16]


def test_without_a_ramp_tokens_are_steps_times_batch(folder):
    assert config(folder, batch_size=5).tokens_in(7) == 7 * 5 * 16


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("world_size", [1, 2])
def test_validation_goes_through_the_split_in_order(folder, split, world_size):
    data = build(folder, micro_batch_size=1, batch_size=10)
    packed = data._sources[0].held_out(split)
    every = rows([packed.gather(np.arange(packed.n_samples))])
    assert packed.n_samples % 10, "the last batch should be short"
    assert rows(data.validation_batches(split=split)) == every
    ranks = [data.validation_batches(None, rank, world_size, split) for rank in range(world_size)]
    assert sorted(rows(chain(*ranks))) == sorted(every)


@pytest.mark.parametrize("micro_batch_size", [None, 2, 4])
def test_a_limited_validation_is_spread_over_the_split_and_ignores_micro_batches(folder, micro_batch_size):
    data = build(folder, micro_batch_size=micro_batch_size)
    packed = data._sources[0].held_out("val")
    every = [tuple(row) for row in rows([packed.gather(np.arange(packed.n_samples))])]
    taken = rows(data.validation_batches(2))
    places = [every.index(tuple(row)) for row in taken]
    assert len(taken) == 16
    assert taken == rows(build(folder).validation_batches(2))
    assert places == sorted(set(places))
    assert places[0] == 0
    assert places[-1] > 0.8 * packed.n_samples
    assert rows(data.validation_batches(10**6)) == rows(data.validation_batches())


def test_types_are_what_torch_wants(folder):
    batch = build(folder).step_batch(0)[0]
    assert batch.tokens_BT1.shape == batch.document_BT1.shape == (8, 17)
    assert batch.tokens_BT1.dtype == batch.document_BT1.dtype == torch.int64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seq_len": 0}, "seq_len must be at least 1"),
        ({"batch_size": 8, "micro_batch_size": 3}, r"micro_batch_size must divide batch_size \(8\)"),
        ({"validation_share": 0.6, "test_share": 0.4}, "leave nothing to train on"),
        ({"test_share": -0.1}, "test_share must not be negative"),
        ({"corpus": "stdlib"}, "corpus must be"),
        ({"batch_size_start": 4}, "batch_ramp_steps is needed, too: batch_size_start alone is no ramp"),
        ({"batch_ramp_steps": 4}, "batch_size_start is needed, too"),
        ({"batch_size_start": 9, "batch_ramp_steps": 4}, "batch_size_start = 9 is above batch_size = 8"),
        ({"batch_size_start": 0, "batch_ramp_steps": 4}, "batch_size_start must be at least 1"),
        ({"batch_size_start": 2, "batch_ramp_steps": 4, "micro_batch_size": 4}, "must divide batch_size_start"),
    ],
)
def test_impossible_settings_are_refused(folder, changes, message):
    with pytest.raises(ConfigError, match=message):
        config(folder, **changes)


def test_a_step_that_the_ranks_cannot_share_is_refused(folder):
    with pytest.raises(ConfigError, match=r"data\.batch_size \(8\) must be a multiple of 12"):
        build(folder, micro_batch_size=4).step_batch(0, 0, 3)
    with pytest.raises(ConfigError, match=r"data\.batch_size \(8\) must be a multiple of 16"):
        build(folder).step_batch(0, 0, 16)
    with pytest.raises(ConfigError, match=r"data\.batch_size_start \(4\) must be a multiple of 6"):
        build(folder, **RAMP).step_batch(0, 0, 6)


def test_a_vocabulary_too_small_for_the_tokenizer_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match=rf"^model\.vocab_size must be at least {SMALLEST_VOCABULARY}.*not 256"):
        config(tmp_path).build(Bytes.Config(), 256, 1)
    assert not (tmp_path / "cache").exists()


def test_a_sequence_longer_than_the_corpus_is_refused(folder):
    with pytest.raises(DataError, match=r"train split .* too few for one sequence of data\.seq_len=1000000"):
        build(folder, seq_len=10**6)
    tokens = {split: counts["tokens"] for split, counts in build(folder).manifest["splits"].items()}
    with pytest.raises(DataError, match="val split"):
        build(folder, seq_len=tokens["val"])
    with pytest.raises(DataError, match="test split"):
        list(build(folder, test_share=0.0).validation_batches(split="test"))


def test_bits_per_byte_have_their_denominator(folder):
    data = build(folder)
    files = data._sources[0].files
    for split in SPLITS:
        tokens = files.split(split).tokens
        assert data.token_bytes_V[tokens].sum() == data.manifest["splits"][split]["bytes"]


def test_the_trigram_baseline_is_that_of_the_files_and_computed_once(folder, monkeypatch):
    data = build(folder)
    texts = {split: list(data._text(split)) for split in ("train", "val")}
    bits = data.trigram_bits_per_byte("val")
    assert sum(map(len, texts["train"])) == data.manifest["splits"]["train"]["bytes"]
    assert bits == trigram_bits_per_byte(texts["train"], texts["val"])
    monkeypatch.setattr(PretrainData, "_text", None)
    assert build(folder).trigram_bits_per_byte("val") == bits
    assert 0 < bits < 8


def test_a_part_of_the_real_library(tmp_path):
    source = Path(sysconfig.get_paths()["stdlib"]) / "json"
    data = PretrainData.Config(
        corpus=StandardLibrary.Config(folder=str(source)),
        cache_dir=str(tmp_path),
        seq_len=64,
        batch_size=4,
        validation_share=0.3,
        test_share=0.0,
    ).build(BytePairEncoding.Config(vocab_size=400), 512, seed=3)
    files = data._sources[0].files
    text = data.tokenizer.to_bytes([*files.split("train").tokens, *files.split("val").tokens])
    assert len(text) == sum(path.stat().st_size for path in source.glob("*.py"))
    shown = data.tokenizer.decode(data.step_batch(0)[0].tokens_BT1[0].tolist(), skip_special=True)
    assert shown.encode() in b"".join(data._text("train"))
    assert VOCABULARY < data.tokenizer.vocab_size <= 400
