"""Divergences against sums over a small vocabulary, and what a student moves towards."""

import math

import pytest
import torch

from deepseek_lab.objectives.distillation import DIVERGENCES, divergence_at_tokens, logit_distillation_loss

STUDENT, TEACHER = [0.3, -1.0, 2.0], [1.0, 0.5, -0.5]


def softmax(values, t):
    weights = [math.exp(v / t) for v in values]
    return [w / sum(weights) for w in weights]


def kl(a, b):
    return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("t", [1.0, 2.0])
def test_each_divergence_is_its_sum(kind, t):
    p, q = softmax(TEACHER, t), softmax(STUDENT, t)
    m = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    expected = {"forward": kl(p, q), "reverse": kl(q, p), "jensen_shannon": (kl(p, m) + kl(q, m)) / 2}[kind]
    s, te = (torch.tensor([[v]], dtype=torch.float64) for v in (STUDENT, TEACHER))
    assert divergence_at_tokens(s, te, kind, t).item() == pytest.approx(t * t * expected, rel=1e-12)


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_the_sign_a_step_down_brings_the_student_nearer_and_leaves_the_teacher(kind):
    student = torch.tensor([[STUDENT]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[TEACHER]], dtype=torch.float64, requires_grad=True)
    loss, metrics = logit_distillation_loss(student, teacher, torch.ones(1, 1), 1, kind)
    loss.backward()
    assert teacher.grad is None
    nearer = divergence_at_tokens(student - 0.1 * student.grad, teacher, kind)
    assert nearer.item() < metrics["divergence_BT"].item()
    assert divergence_at_tokens(teacher, teacher, kind).abs().item() < 1e-15


def test_a_step_is_divided_by_all_its_positions():
    g = torch.Generator().manual_seed(0)
    s, t = torch.randn(2, 4, 3, 5, generator=g, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]])
    whole = logit_distillation_loss(s, t, mask, 6)[0]
    cut = sum(logit_distillation_loss(s[i : i + 1], t[i : i + 1], mask[i : i + 1], 6)[0] for i in range(4))
    torch.testing.assert_close(whole, cut)


def test_an_impossible_token_gives_no_nan():
    s, t = torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[0.0, -1e9]]])
    assert divergence_at_tokens(s, t).item() == pytest.approx(math.log(2))
