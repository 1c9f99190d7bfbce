"""Random state goes to plain values and back."""

import random
from pathlib import Path

import numpy as np
import torch

from deepseek_lab.checkpoint import random_state


def draw() -> list[float]:
    """Odd numbers of normal draws, so that the spare normal of Python and NumPy matters."""
    python, other = [random.gauss(0, 1), random.random()], [torch.rand(()).item(), torch.randn(()).item()]
    return [*python, float(np.random.randn()), *other]


def test_draws_repeat_after_a_round_trip_through_a_file(tmp_path: Path) -> None:
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    draw()
    torch.save(random_state.capture(), tmp_path / "state")
    expected = [draw() for _ in range(3)]
    random.seed(6), np.random.seed(6), torch.manual_seed(6)
    random_state.restore(torch.load(tmp_path / "state", weights_only=True))
    assert [draw() for _ in range(3)] == expected


def test_draws_inside_leave_no_trace() -> None:
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = [draw(), draw()]
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    first = draw()
    with random_state.untouched():
        draw(), draw()
    assert [first, draw()] == expected
