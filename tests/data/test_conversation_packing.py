"""Packing keeps every conversation whole, apart, and once."""

import numpy as np
import pytest

from deepseek_lab.data.conversation_packing import PADDING, AnsweredSplit, PackedConversations, best_fit_decreasing


def split_of_lengths(lengths):
    offsets = np.cumsum([0, *lengths])
    ids = np.concatenate([np.full(n, 10 + i) for i, n in enumerate(lengths)])
    answer = np.concatenate([np.arange(n) >= n // 2 for n in lengths])
    return AnsweredSplit(ids, answer, offsets)


def test_best_fit_decreasing_fills_the_fullest_bin_that_has_room():
    lengths = [3, 6, 4, 5, 2]  # 6, 5, 4 -> beside 6; 3 -> beside 5; 2 -> beside 5 and 3
    assert best_fit_decreasing(lengths, 10) == [[1, 2], [3, 0, 4]]
    with pytest.raises(ValueError, match="does not fit"):
        best_fit_decreasing([11], 10)


def test_no_bin_overflows_and_none_is_needless():
    lengths = np.random.default_rng(0).integers(1, 40, 300).tolist()
    bins = best_fit_decreasing(lengths, 50)
    assert sorted(i for one in bins for i in one) == list(range(300))
    sizes = sorted(sum(lengths[i] for i in one) for one in bins)
    assert sizes[-1] <= 50
    assert sizes[0] + sizes[1] > 50, "two bins that would fit into one"


@pytest.mark.parametrize("packing", [True, False])
def test_every_conversation_stands_in_one_row_whole(packing):
    lengths = [5, 7, 3, 4, 9]
    packed = PackedConversations(split_of_lengths(lengths), 11, pad_id=2, packing=packing)
    batch = packed.gather(np.arange(packed.n_rows))
    assert packed.n_rows == (3 if packing else 5)
    for number, length in enumerate(lengths):
        own = batch.document_BT1 == number
        assert own.sum() == length
        assert (batch.tokens_BT1[own] == 10 + number).all()
        assert own.any(1).sum() == 1
        assert batch.answer_BT1[own].tolist() == [i >= length // 2 for i in range(length)]
    padding = batch.document_BT1 == PADDING
    assert (batch.tokens_BT1[padding] == 2).all()
    assert not batch.answer_BT1[padding].any()
    assert packed.fill == pytest.approx(28 / (packed.n_rows * 12))


def test_what_is_too_long_is_cut_and_left_out_when_no_answer_is_left():
    packed = PackedConversations(split_of_lengths([30, 12, 4]), 7, pad_id=2)
    batch = packed.gather(np.arange(packed.n_rows))
    assert (batch.document_BT1 == 0).sum() == 0  # its answer begins at 15
    assert (batch.document_BT1 == 1).sum() == 8
    assert (batch.document_BT1 == 2).sum() == 4
