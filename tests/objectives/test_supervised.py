"""Masked loss equals a loop over the assistant's tokens, whatever the step is cut into."""

import pytest
import torch

from deepseek_lab.objectives.masking import answer_targets
from deepseek_lab.objectives.supervised import supervised_loss


def test_only_the_assistants_tokens_are_targets_and_never_across_samples():
    tokens = torch.tensor([[5, 6, 7, 8, 9, 0]])
    counted = torch.tensor([[0, 1, 1, 1, 1, 0]], dtype=torch.bool)
    documents = torch.tensor([[0, 0, 0, 1, 1, 2]])
    targets, valid = answer_targets(tokens, counted, documents)
    assert targets.tolist() == [[6, 7, 8, 9, 0]]
    assert valid.tolist() == [[True, True, False, True, False]]


@pytest.mark.parametrize("size", [1, 2, 8])
def test_the_step_is_divided_by_all_its_targets_however_it_is_cut(size):
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(8, 6, 4, generator=g, dtype=torch.float64, requires_grad=True)
    head = torch.randn(9, 4, generator=g, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(9, (8, 6), generator=g)
    mask = torch.rand(8, 6, generator=g) < torch.linspace(0.1, 0.9, 8)[:, None]
    total = mask.sum()
    logp = (hidden @ head.T).log_softmax(-1)
    expected = -sum(logp[b, t, targets[b, t]] for b in range(8) for t in range(6) if mask[b, t]) / int(total)
    true = torch.autograd.grad(expected, (hidden, head))
    rows = [slice(i, i + size) for i in range(0, 8, size)]
    loss = sum(supervised_loss(hidden[r], head, targets[r], mask[r], total)[0] for r in rows)
    ours = torch.autograd.grad(loss, (hidden, head))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours, true)


def test_the_sign_a_step_down_makes_the_answer_likelier():
    hidden = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    head = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    supervised_loss(hidden, head, torch.tensor([[0]]), torch.ones(1, 1), 1)[0].backward()
    assert hidden.grad[0, 0, 0] < 0 < hidden.grad[0, 0, 1]
