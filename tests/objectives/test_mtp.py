"""Depth k predicts token i + k + 1, within its document where that is asked."""

import pytest
import torch

from deepseek_lab.objectives.mtp import depth_weight, mtp_loss_weight, mtp_targets

TOKENS = torch.arange(100, 107)[None]  # T1 = 7, T = 6
DOCUMENTS = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("within", [False, True])
def test_targets_by_definition(depth, within):
    targets, valid = mtp_targets(TOKENS, DOCUMENTS, depth, within)
    positions = range(6 - depth)
    assert targets[0].tolist() == [100 + i + depth + 1 for i in positions]
    wanted = [not within or bool(DOCUMENTS[0, i] == DOCUMENTS[0, i + depth + 1]) for i in positions]
    assert valid[0].tolist() == wanted
    assert all(wanted) != within


def test_a_row_too_short_for_the_depth_gives_no_position():
    targets, valid = mtp_targets(TOKENS[:, :2], DOCUMENTS[:, :2], 1, True)
    assert targets.shape == valid.shape == (1, 0)


def test_bad_calls():
    with pytest.raises(ValueError, match="counts from 1"):
        mtp_targets(TOKENS, DOCUMENTS, 0, False)
    with pytest.raises(ValueError, match="document"):
        mtp_targets(TOKENS, None, 1, True)


def test_loss_weight_falls_where_the_paper_says():
    weights = [mtp_loss_weight(step, 148, 0.3, 0.1, 10 / 14.8) for step in range(148)]
    assert weights == [0.3] * 100 + [0.1] * 48


def test_depths_share_the_weight():
    assert depth_weight(0.3, 3) == pytest.approx(0.1)
    assert depth_weight(0.3, 0) == 0.0
