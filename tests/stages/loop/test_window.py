"""Sums that travel with a checkpoint from any number of ranks to any other."""

import torch

from deepseek_lab.stages.loop.window import Window


def test_a_checkpoint_of_two_ranks_goes_on_with_three():
    ranks = [Window(), Window()]
    for rank, window in enumerate(ranks):
        window.add({"train/loss": torch.tensor(1.0 + rank), "train/grad_norm": torch.tensor(0.5)})
    state = ranks[0].state_dict(lambda sums: sums + torch.tensor([0.5, 2.0]))
    assert state == {"steps": 1, "sums": {"train/grad_norm": 1.0, "train/loss": 3.0}}
    resumed = [Window() for _ in range(3)]
    for rank, window in enumerate(resumed):
        window.load_state_dict(state, rank)
        window.add({"train/loss": torch.tensor(2.0), "train/grad_norm": torch.tensor(1.0)})
    means = [window.means(lambda sums: sums) for window in resumed]
    assert sum(mean["train/loss"] for mean in means) == (3.0 + 3 * 2.0) / 2


def test_an_empty_window_is_saved_without_a_message():
    assert Window().state_dict(lambda sums: 1 / 0) == {"steps": 0, "sums": {}}
