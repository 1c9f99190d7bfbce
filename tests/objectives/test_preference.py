"""Bradley-Terry and DPO with its relatives against numbers worked out with `math`, and their signs."""

import math

import pytest
import torch

from deepseek_lab.objectives.preference import PREFERENCE_LOSSES, bradley_terry, preference_loss

PAIR = tuple(torch.tensor([value], dtype=torch.float64) for value in (-4.0, -6.0, -4.5, -5.0))
H = (-4.0 + 4.5) - (-6.0 + 5.0)
BETA = 0.1


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


EXPECTED = {
    ("dpo", 0.0): -log_sigmoid(BETA * H),
    ("cdpo", 0.2): -0.8 * log_sigmoid(BETA * H) - 0.2 * log_sigmoid(-BETA * H),
    ("robust", 0.2): (-0.8 * log_sigmoid(BETA * H) + 0.2 * log_sigmoid(-BETA * H)) / 0.6,
    ("ipo", 0.0): (H - 1 / (2 * BETA)) ** 2,
}


@pytest.mark.parametrize(("kind", "rate"), EXPECTED)
def test_each_loss_is_its_formula(kind, rate):
    loss, metrics = preference_loss(*PAIR, BETA, kind, rate)
    assert loss.item() == pytest.approx(EXPECTED[kind, rate], rel=1e-12)
    assert metrics["rewards/margins"].item() == pytest.approx(BETA * H)
    assert metrics["rewards/chosen"].item() == pytest.approx(BETA * 0.5)
    assert metrics["rewards/accuracies"].item() == 1


@pytest.mark.parametrize("kind", PREFERENCE_LOSSES)
def test_the_loss_falls_when_the_chosen_answer_becomes_likelier(kind):
    chosen, rejected = PAIR[0].clone().requires_grad_(), PAIR[1].clone().requires_grad_()
    preference_loss(chosen, rejected, *PAIR[2:], BETA, kind, 0.1 if kind in ("cdpo", "robust") else 0.0)[0].backward()
    assert chosen.grad.item() < 0 < rejected.grad.item()


def test_the_loss_is_log_2_where_policy_and_reference_agree():
    same = preference_loss(PAIR[0], PAIR[1], PAIR[0], PAIR[1], BETA)[0]
    assert same.item() == pytest.approx(math.log(2))


def test_a_robust_loss_is_what_noisy_labels_give_on_average():
    rate = 0.3
    right = preference_loss(*PAIR, BETA, "robust", rate)[0]
    wrong = preference_loss(PAIR[1], PAIR[0], PAIR[3], PAIR[2], BETA, "robust", rate)[0]
    clean = preference_loss(*PAIR, BETA)[0]
    assert ((1 - rate) * right + rate * wrong).item() == pytest.approx(clean.item(), rel=1e-12)


@pytest.mark.parametrize(("kind", "rate"), [("dpo", 0.1), ("ipo", 0.1), ("robust", 0.5), ("cdpo", -0.1)])
def test_a_rate_that_a_loss_has_not_is_refused(kind, rate):
    with pytest.raises(ValueError, match="flip rate"):
        preference_loss(*PAIR, BETA, kind, rate)


def test_bradley_terry_is_its_formula_with_margin_and_centring():
    won, lost = torch.tensor([1.5], dtype=torch.float64), torch.tensor([0.25], dtype=torch.float64)
    loss, metrics = bradley_terry(won, lost, margin_P=0.5, centring=0.01)
    assert loss.item() == pytest.approx(-log_sigmoid(1.25 - 0.5) + 0.01 * 1.75**2, rel=1e-12)
    assert metrics["rewards/margins"].item() == 1.25


def test_bradley_terry_raises_the_chosen_reward():
    won, lost = (torch.tensor([0.3], dtype=torch.float64, requires_grad=True) for _ in range(2))
    bradley_terry(won, lost)[0].backward()
    assert won.grad.item() == pytest.approx(-0.5)
    assert lost.grad.item() == pytest.approx(0.5)
