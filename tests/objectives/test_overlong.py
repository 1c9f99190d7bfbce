"""DAPO's length penalty at its corners, and answers that were cut off."""

import pytest
import torch

from deepseek_lab.objectives.overlong import overlong_penalty, without_truncated


def test_the_penalty_is_a_ramp_that_ends_at_the_limit():
    lengths = torch.tensor([0, 16384, 18432, 20480, 30000])
    assert overlong_penalty(lengths, 20480, 4096).tolist() == [0, 0, -0.5, -1, -1]


@pytest.mark.parametrize("cache", [0, 11])
def test_a_zone_that_does_not_fit_is_refused(cache):
    with pytest.raises(ValueError, match="zone"):
        overlong_penalty(torch.tensor([1]), 10, cache)


def test_truncated_answers_leave_the_mask():
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert without_truncated(mask, torch.tensor([True, False])).sum(1).tolist() == [0, 3]
