"""Drafts against the main model's own choice."""

import torch

from deepseek_lab.objectives.acceptance import draft_agreement, greedy_tokens


def test_greedy_tokens_are_the_argmax_however_they_are_cut(monkeypatch):
    hidden, head = torch.randn(37, 8), torch.randn(11, 8)
    whole = (hidden @ head.T).argmax(-1)
    assert torch.equal(greedy_tokens(hidden, head), whole)
    monkeypatch.setattr("deepseek_lab.objectives.acceptance._LOGITS", 5 * 11)
    assert torch.equal(greedy_tokens(hidden, head), whole)
    assert greedy_tokens(hidden[:0], head).shape == (0,)


def test_a_draft_of_depth_k_is_held_against_the_choice_k_positions_later():
    greedy = torch.tensor([[9, 1, 2, 3, 4]])
    everything = torch.ones(1, 4, dtype=torch.bool)
    assert draft_agreement(greedy, torch.tensor([[1, 2, 3, 4]]), everything).tolist() == [4, 4]
    assert draft_agreement(greedy, torch.tensor([[9, 1, 2, 3]]), everything).tolist() == [0, 4]
    assert draft_agreement(greedy, torch.tensor([[2, 7, 4]]), everything[:, :3]).tolist() == [2, 3]


def test_drafts_that_do_not_count_are_left_out():
    greedy, draft = torch.tensor([[9, 1, 2]]), torch.tensor([[1, 2]])
    assert draft_agreement(greedy, draft, torch.tensor([[True, False]])).tolist() == [1, 1]
