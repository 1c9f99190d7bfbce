"""Samples against brute force: which tokens, which documents, every sample once an epoch."""

import numpy as np
import pytest
import torch

from deepseek_lab.data.packing import PackedSplit, epoch_order, interleave, shuffled_samples
from deepseek_lab.data.token_files import TokenSplit


@pytest.fixture
def split():
    lengths = np.random.default_rng(0).integers(1, 9, 30)
    offsets = np.concatenate([[0], lengths.cumsum()])
    return TokenSplit(np.arange(1000, 1000 + offsets[-1], dtype=np.uint16), offsets)


@pytest.mark.parametrize("seq_len", [1, 4, 7])
def test_samples_are_the_tokens_in_a_row_with_their_documents(split, seq_len):
    packed = PackedSplit(split, seq_len)
    assert packed.n_samples == (len(split.tokens) - 1) // seq_len
    document = [d for d, length in enumerate(np.diff(split.offsets)) for _ in range(length)]
    batch = packed.gather(np.arange(packed.n_samples))
    for i in range(packed.n_samples):
        cut = slice(i * seq_len, i * seq_len + seq_len + 1)
        assert batch.tokens_BT1[i].tolist() == split.tokens[cut].tolist()
        assert batch.document_BT1[i].tolist() == document[cut]


def test_every_token_but_the_first_is_predicted_once(split):
    packed = PackedSplit(split, 4)
    predicted = packed.gather(np.arange(packed.n_samples)).tokens_BT1[:, 1:].flatten().tolist()
    assert predicted == split.tokens[1 : 1 + len(predicted)].tolist()
    assert len(split.tokens) - 1 - len(predicted) < 4


def test_a_split_that_is_too_short_has_no_sample(split):
    assert PackedSplit(split, len(split.tokens)).n_samples == 0
    assert PackedSplit(split, len(split.tokens) - 1).n_samples == 1
    assert PackedSplit(TokenSplit(split.tokens[:0], split.offsets[:1]), 4).n_samples == 0


@pytest.mark.parametrize("count", [1, 3, 10, 25])
def test_samples_go_through_whole_permutations_whatever_the_step_size(count):
    taken = np.concatenate([shuffled_samples(first, count, 5, 10) for first in range(0, 150, count)])
    epochs = taken[:150].reshape(-1, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 15
    assert epochs[3].tolist() == epoch_order(5, 3, 10).tolist()


def test_seeds_give_other_orders():
    assert epoch_order(1, 0, 50).tolist() != epoch_order(2, 0, 50).tolist()
    assert epoch_order(1, 0, 50).tolist() != epoch_order(0, 1, 50).tolist()


def test_micro_batches_cut_the_step_in_order(split):
    whole = PackedSplit(split, 4).gather(np.array([3, 1, 4, 1, 5]))
    parts = whole.cut(2)
    assert [len(part.tokens_BT1) for part in parts] == [2, 2, 1]
    for name in ("tokens_BT1", "document_BT1", "source_B"):
        assert torch.cat([getattr(part, name) for part in parts]).equal(getattr(whole, name))


def test_interleaved_parts_keep_their_order_and_know_their_source(split):
    packed = PackedSplit(split, 4)
    first, second = packed.gather(np.array([0, 1, 2])), packed.gather(np.array([7, 5]))
    batch = interleave([first, second], np.array([1, 0, 0, 1, 0]))
    assert batch.tokens_BT1.equal(packed.gather(np.array([7, 0, 1, 5, 2])).tokens_BT1)
    assert batch.document_BT1.equal(packed.gather(np.array([7, 0, 1, 5, 2])).document_BT1)
    assert batch.source_B.tolist() == [1, 0, 0, 1, 0]


def test_moving_keeps_all_tensors(split):
    batch = PackedSplit(split, 4).gather(np.array([0])).to("meta")
    assert {tensor.device.type for tensor in vars(batch).values()} == {"meta"}
