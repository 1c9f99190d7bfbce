"""The clipped surrogate and its aggregations, token by token in plain Python, and where gradients vanish."""

import math

import pytest
import torch

from deepseek_lab.objectives.policy_gradient import (
    AGGREGATIONS,
    clip_shares,
    clipped_surrogate,
    log_ratios,
    token_weights,
    truncated_importance,
    value_loss,
)

MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.0, 1.25, 1.5, 4.0])
@pytest.mark.parametrize("advantage", [-2.0, 0.7])
@pytest.mark.parametrize("dual", [None, 3.0])
def test_the_surrogate_is_its_formula(ratio, advantage, dual):
    expected = min(ratio * advantage, min(max(ratio, 0.8), 1.28) * advantage)
    if dual and advantage < 0:
        expected = max(expected, dual * advantage)
    got = clipped_surrogate(f64([[math.log(ratio)]]), f64([[advantage]]), 0.2, 0.28, dual)
    assert got.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("ratio", "advantage", "silent"), [(1.5, 1, True), (1.5, -1, False), (0.5, -1, True), (0.5, 1, False)]
)
def test_clipping_silences_only_moves_that_went_far_enough(ratio, advantage, silent):
    log_ratio = f64([[math.log(ratio)]]).requires_grad_()
    clipped_surrogate(log_ratio, f64([[advantage]]), 0.2, 0.2).backward()
    assert (log_ratio.grad.item() == 0) == silent
    shares = clip_shares(log_ratio, f64([[advantage]]), torch.tensor([[True]]), 0.2, 0.2)
    assert shares["clip_ratio/high_mean"] == (silent and ratio > 1)
    assert shares["clip_ratio/low_mean"] == (silent and ratio < 1)


def test_a_good_token_becomes_likelier():
    logp = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    (-clipped_surrogate(logp - logp.detach(), f64([[1.0, -1.0]]), 0.2, 0.2).sum()).backward()
    assert logp.grad[0, 0] < 0 < logp.grad[0, 1], "descent raises the first and lowers the second"


def test_weights_are_those_of_the_papers():
    lengths, batch, group, longest = [3, 1, 2, 4], 4, 2, 10
    expected = {
        "sequence_mean": [1 / (n * batch) for n in lengths],
        "token_mean": [1 / sum(lengths)] * 4,
        "group_token_mean": [1 / (4 * 2)] * 2 + [1 / (6 * 2)] * 2,
        "constant": [1 / (batch * longest)] * 4,
    }
    assert set(expected) == set(AGGREGATIONS)
    for kind, per_row in expected.items():
        torch.testing.assert_close(token_weights(MASK, kind, group, longest), f64(per_row)[:, None] * MASK)


def test_an_empty_answer_weighs_nothing_and_divides_by_nothing():
    for kind in AGGREGATIONS:
        weights = token_weights(torch.zeros(2, 3, dtype=torch.bool), kind, 2, 3)
        assert weights.isfinite().all()
        assert weights.sum() == 0


def test_the_ratio_of_an_answer_is_the_geometric_mean_of_its_tokens():
    g = torch.Generator().manual_seed(1)
    new, old = torch.randn(2, 4, 4, generator=g, dtype=torch.float64)
    of_answer = log_ratios(new, old, MASK, "sequence").exp()
    for b, n in enumerate(MASK.sum(1).tolist()):
        expected = math.prod((new[b, t] - old[b, t]).exp().item() for t in range(n)) ** (1 / n)
        torch.testing.assert_close(of_answer[b, :n], torch.full((n,), expected, dtype=torch.float64))
    assert (log_ratios(new, old, MASK)[~MASK] == 0).all()


def test_on_policy_the_gradient_of_gspo_is_that_of_grpo():
    g = torch.Generator().manual_seed(2)
    advantage = torch.randn(4, 1, generator=g, dtype=torch.float64).expand(4, 4)
    gradients = []
    for level in ("token", "sequence"):
        logp = torch.randn(4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64, requires_grad=True)
        surrogate = clipped_surrogate(log_ratios(logp, logp.detach(), MASK, level), advantage, 0.2, 0.2)
        (surrogate * token_weights(MASK, "sequence_mean")).sum().backward()
        gradients.append(logp.grad)
    torch.testing.assert_close(*gradients)


def test_importance_is_capped_and_carries_no_gradient():
    old = f64([[-1.0, -1.0]]).requires_grad_()
    weight = truncated_importance(old, f64([[-3.0, -0.5]]), 2.0)
    torch.testing.assert_close(weight, f64([[2.0, math.exp(-0.5)]]))
    assert not weight.requires_grad


@pytest.mark.parametrize(("value", "expected"), [(0.9, 0.01), (2.0, 1.0), (0.1, 0.81), (1.5, 0.25)])
def test_the_value_loss_takes_the_worse_of_two_errors(value, expected):
    loss, _ = value_loss(f64([[value]]), f64([[1.0]]), f64([[1.0]]), f64([[1.0]]), 0.2)
    assert loss.item() == pytest.approx(expected / 2)


def test_a_value_that_jumped_towards_the_return_is_held_back():
    value = f64([[1.9]]).requires_grad_()
    loss, metrics = value_loss(value, f64([[1.0]]), f64([[2.0]]), f64([[1.0]]), 0.2)
    assert loss.item() == pytest.approx(0.8**2 / 2)
    assert metrics["value/clip_ratio"] == 1
    plain, _ = value_loss(value, f64([[1.0]]), f64([[2.0]]), f64([[1.0]]), None)
    plain.backward()
    assert value.grad.item() == pytest.approx(-0.1), "descent moves the value to the return"
