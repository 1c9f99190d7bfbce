"""Our GRPO step against TRL's own loss and backward: same weights, answers and rewards."""

import pytest

pytest.importorskip("trl")

from deepseek_lab.benchmarking.rl_agreement import agreement


@pytest.mark.parametrize("shape", ["llama", pytest.param("deepseek_v3", marks=pytest.mark.slow)])
def test_the_first_step_has_the_loss_and_gradients_of_trl(shape):
    found = agreement(shape, ["What is 2 + 3?", "Why?"], n_new=6)
    assert found.ours == pytest.approx(found.theirs, abs=1e-6)
    assert 0 < found.gradients < 1e-5
