"""KL estimators against the exact sum over a small vocabulary, in value and in gradient."""

import pytest
import torch

from deepseek_lab.objectives.kl import KL_ESTIMATORS, kl_estimate

V = 5


@pytest.fixture
def logits():
    g = torch.Generator().manual_seed(0)
    draw = lambda: torch.randn(V, generator=g, dtype=torch.float64)  # noqa: E731
    return draw().requires_grad_(), draw(), draw()


def mean_under(probabilities, values):
    return (probabilities.detach() * values).sum()


def exact(policy, reference):
    logp = policy.log_softmax(0)
    return (logp.exp() * (logp - reference.log_softmax(0))).sum()


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_values_are_unbiased(kind, logits):
    policy, reference, _ = logits
    logp = policy.log_softmax(0)
    estimate = mean_under(logp.exp(), kl_estimate(logp, reference.log_softmax(0), kind))
    assert estimate.item() == pytest.approx(exact(policy, reference).item(), rel=1e-12)


def test_the_corrected_form_is_unbiased_for_tokens_of_another_policy(logits):
    policy, reference, old = logits
    logp, logp_old = policy.log_softmax(0), old.log_softmax(0)
    values = kl_estimate(logp, reference.log_softmax(0), "k3_unbiased", logp - logp_old)
    estimate = mean_under(logp_old.exp(), values)
    assert estimate.item() == pytest.approx(exact(policy, reference).item(), rel=1e-12)
    (ours,) = torch.autograd.grad(estimate, policy)
    (true,) = torch.autograd.grad(exact(policy, reference), policy)
    torch.testing.assert_close(ours, true, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("kind", "right"), [("k2", True), ("k3_unbiased", True), ("k3", False), ("k1", False)])
def test_which_gradients_are_those_of_the_reverse_kl(kind, right, logits):
    policy, reference, _ = logits
    logp = policy.log_softmax(0)
    estimate = mean_under(logp.exp(), kl_estimate(logp, reference.log_softmax(0), kind, logp - logp.detach()))
    (ours,) = torch.autograd.grad(estimate, policy)
    (true,) = torch.autograd.grad(exact(policy, reference), policy)
    assert torch.allclose(ours, true, rtol=1e-10, atol=1e-12) == right


@pytest.mark.parametrize("kind", KL_ESTIMATORS)
def test_the_sign_a_token_likelier_than_under_the_reference_costs(kind):
    logp, reference = torch.tensor(-1.0, dtype=torch.float64), torch.tensor(-2.0, dtype=torch.float64)
    assert kl_estimate(logp, reference, kind, torch.zeros(())) > 0
    assert (kl_estimate(reference, logp, kind, torch.zeros(())) < 0) == (kind == "k1")


def test_the_corrected_form_needs_the_ratio():
    with pytest.raises(ValueError, match="ratio"):
        kl_estimate(torch.zeros(1), torch.zeros(1), "k3_unbiased")
