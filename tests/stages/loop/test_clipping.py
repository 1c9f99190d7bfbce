"""The global norm and its clipping equal torch's own."""

import pytest
import torch
from torch import nn

from deepseek_lab.stages.loop.clipping import clip_gradients


def network():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    model(torch.randn(2, 4)).square().sum().backward()
    return model


@pytest.mark.parametrize("max_norm", [None, 0.0, 0.5, 1e6])
def test_it_is_torchs_clipping(max_norm):
    ours, theirs = network(), network()
    norm = clip_gradients(ours, max_norm, over_ranks=lambda total: pytest.fail("whole gradients need no message"))
    assert norm == nn.utils.clip_grad_norm_(theirs.parameters(), max_norm or float("inf"))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=0)


def test_a_model_without_gradients_has_norm_0():
    assert clip_gradients(nn.Linear(2, 2), 1.0, over_ranks=lambda total: total) == 0
