"""Which corpus gives which sample: exact shares in each block, every sample once, at any step."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.data.mixture import BLOCK, Mixture, SampleOrder, largest_remainders
from deepseek_lab.data.pretrain import PretrainData
from deepseek_lab.data.standard_library import StandardLibrary
from deepseek_lab.data.token_files import TokenFiles
from deepseek_lab.text.tokenizer import BytePairEncoding, Bytes

from .small import VOCABULARY, write_corpus


@pytest.mark.parametrize(
    ("weights", "total", "counts"),
    [
        ([0.7, 0.3], 10, [7, 3]),
        ([1 / 3] * 3, 10, [4, 3, 3]),
        ([0.55, 0.25, 0.2], 10, [6, 2, 2]),
        ([1.0, 0.0], 5, [5, 0]),
    ],
)
def test_largest_remainders(weights, total, counts):
    assert largest_remainders(weights, total).tolist() == counts


@pytest.mark.parametrize("count", [1, 7, 999, 2500])
def test_every_block_has_its_shares_and_every_sample_of_a_source_comes_once_in_order(count):
    order = SampleOrder([0.7, 0.25, 0.05], seed=3)
    pieces = [order.between(first, count) for first in range(0, 5 * BLOCK, count)]
    source, number = (np.concatenate(parts)[: 5 * BLOCK] for parts in zip(*pieces, strict=True))
    for block in source.reshape(5, BLOCK):
        assert np.bincount(block).tolist() == [700, 250, 50]
    for index, share in enumerate((700, 250, 50)):
        assert number[source == index].tolist() == list(range(5 * share))
    assert len({tuple(block) for block in source.reshape(5, BLOCK)}) == 5


def test_seeds_give_other_orders_and_a_far_sample_costs_no_walk():
    first = SampleOrder([0.5, 0.5], seed=1)
    assert first.between(0, 50)[0].tolist() != SampleOrder([0.5, 0.5], seed=2).between(0, 50)[0].tolist()
    _, number = first.between(10**15, 1)
    assert abs(int(number[0]) - 10**15 // 2) <= BLOCK


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"code": 0.7, "prose": 0.4}, r"weights must add up to 1, not 0\.7 \+ 0\.4 = 1\.1"),
        ({"code": 1.2, "prose": -0.2}, r"weights\.prose must be 0 or at least 0\.001, not -0\.2"),
        ({"code": 0.9999, "prose": 0.0001}, r"weights\.prose must be 0 or at least 0\.001"),
        ({"code": 1.0}, r"sources\.prose has no counterpart in weights"),
        (
            {"code": 0.5, "prose": 0.3, "proze": 0.2},
            r"weights\.proze has no counterpart in sources; did you mean 'prose'",
        ),
        ({"code": "a", "prose": 0.3}, "weights must be"),
    ],
)
def test_impossible_weights_are_refused(weights, message):
    with pytest.raises(ConfigError, match=message):
        Mixture.Config(sources={name: StandardLibrary.Config() for name in ("code", "prose")}, weights=weights)


def test_a_name_that_cannot_name_a_curve_is_refused():
    with pytest.raises(ConfigError, match=r"sources\.a/b must be small letters"):
        Mixture.Config(sources={"a/b": StandardLibrary.Config()}, weights={"a/b": 1.0})


# A mixture of two folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    write_corpus(path / "a", 60, seed=0)
    write_corpus(path / "b", 90, seed=1)
    return path


def config(folder, weights=(0.7, 0.3), **changes):
    sources = {name: StandardLibrary.Config(folder=str(folder / name)) for name in ("a", "b")}
    settings = {
        "corpus": Mixture.Config(sources=sources, weights=dict(zip("ab", weights, strict=True))),
        "cache_dir": str(folder / "cache"),
        "seq_len": 16,
        "batch_size": 8,
        "validation_share": 0.2,
        "test_share": 0.2,
    }
    return PretrainData.Config(**(settings | changes))


def build(folder, **changes):
    return config(folder, **changes).build(Bytes.Config(), VOCABULARY, 1)


def alone(folder, name, **changes):
    corpus = StandardLibrary.Config(folder=str(folder / name))
    return config(folder, corpus=corpus, **changes).build(Bytes.Config(), VOCABULARY, 1)


def rows(batches):
    return [row for micro in batches for row in micro.tokens_BT1.tolist()]


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_each_source_gives_its_own_samples_in_its_own_order(folder, world_size):
    data = build(folder)
    steps = [[m for rank in range(world_size) for m in data.step_batch(k, rank, world_size)] for k in range(2 * 125)]
    whole = list(chain(*steps))
    source = np.concatenate([micro.source_B.numpy() for micro in whole])
    every = np.array(rows(whole))
    for index, name in enumerate("ab"):
        theirs = alone(folder, name, batch_size=int((source == index).sum())).step_batch(0)
        assert every[source == index].tolist() == rows(theirs)
    assert Counter(source.tolist()) == {0: 1400, 1: 600}


def test_validation_goes_through_all_sources_and_names_them(folder):
    data = build(folder)
    parts = list(data.validation_batches())
    each = [rows(alone(folder, name).validation_batches()) for name in "ab"]
    assert rows(parts) == each[0] + each[1]
    assert np.concatenate([part.source_B for part in parts]).tolist() == [0] * len(each[0]) + [1] * len(each[1])
    assert data.source_names == ("a", "b")
    assert set(np.concatenate([part.source_B for part in data.validation_batches(2)]).tolist()) == {0, 1}


def test_other_weights_encode_nothing_again_and_are_another_run(folder, monkeypatch):
    first = build(folder)
    monkeypatch.setattr(TokenFiles, "make", None)
    second = build(folder, weights=(0.2, 0.8))
    assert first.manifest["sources"] == second.manifest["sources"]
    assert first.manifest["hash"] != second.manifest["hash"]
    assert first.manifest["weights"] == {"a": 0.7, "b": 0.3}


def test_the_order_in_which_sources_are_written_down_changes_nothing(folder):
    first = build(folder)
    sources = {name: StandardLibrary.Config(folder=str(folder / name)) for name in ("b", "a")}
    for weights in ({"a": 0.7, "b": 0.3}, {"b": 0.3, "a": 0.7}):
        data = build(folder, corpus=Mixture.Config(sources=sources, weights=weights))
        assert data.manifest == first.manifest
        assert rows(data.step_batch(3)) == rows(first.step_batch(3))


def test_one_tokenizer_learns_from_all_sources(folder, tmp_path):
    for name, letter in zip("ab", "XY", strict=True):
        (tmp_path / name).mkdir()
        for number in range(20):
            (tmp_path / name / f"{number}.py").write_text(letter * 64)
    data = config(tmp_path, seq_len=2).build(BytePairEncoding.Config(vocab_size=300), 300, 1)
    assert all(len(data.tokenizer.encode(letter * 64)) < 32 for letter in "XY")


def test_the_trigram_baseline_reads_all_sources(folder):
    data = build(folder)
    bits = data.trigram_bits_per_byte()
    assert 0 < bits < 8
    assert bits != alone(folder, "a").trigram_bits_per_byte()
    assert build(folder, weights=(0.2, 0.8)).trigram_bits_per_byte() == bits
