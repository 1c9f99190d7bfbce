"""A training step gives the same with every optimisation as with its plain form: loss, gradients, and where it leads.

Recomputation, FP8's rounding and Muon's batches are equal to the bit or to rounding beside their own code
(tests/model/test_recompute.py, tests/precision/test_formats.py, tests/optim).
"""

import pytest
import torch

from deepseek_lab.model.transformer import Transformer
from model.tiny import VOCABULARY, build
from plain_forms import PLAIN, Step

TIME = 260  # long enough for our blocked attention
STEPS = 500


def text(number, rows=2):
    """Tokens that follow from the one before by one of three rules, so that there is something to learn."""
    generator = torch.Generator().manual_seed(number)
    steps = torch.tensor([1, 5, 30])[torch.randint(3, (rows, TIME + 1), generator=generator)]
    return steps.cumsum(1) % VOCABULARY


def loss_of(model, tokens):
    hidden = model(tokens[:, :-1]).hidden_BTD.flatten(0, 1)
    return Step.head_loss(hidden, model.head_weight_VD, tokens[:, 1:].flatten())


def adamw(model):
    options = {"lr": 3e-3, "betas": (0.9, 0.95), "weight_decay": 0.1}
    return torch.optim.AdamW(model.parameters(), fused=Step.fused, foreach=False, **options)


def first_step(attention):
    """Loss and gradients of a first step, and the weights behind it."""
    model = build(attention, "moe").train()
    loss = loss_of(model, text(0))
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adamw(model).step()
    return loss.item(), gradients, {name: p.detach() for name, p in model.named_parameters()}


@pytest.fixture(scope="module", params=["mla", "gqa"])
def shipped(request):
    return request.param, first_step(request.param)


@pytest.mark.parametrize("form", PLAIN)
def test_the_first_step_is_the_plain_forms(shipped, form, monkeypatch):
    attention, (loss, gradients, weights) = shipped
    PLAIN[form](monkeypatch)
    plain_loss, plain_gradients, plain_weights = first_step(attention)
    assert loss == pytest.approx(plain_loss, abs=1e-6, rel=0)
    for name, gradient in plain_gradients.items():
        assert (gradients[name] - gradient).norm() <= 1e-5 * gradient.norm(), name
    if form.startswith("AdamW"):  # elsewhere rounding turns a gradient near 0 into a step of the full rate
        for name, weight in plain_weights.items():
            torch.testing.assert_close(weights[name], weight, atol=1e-7, rtol=1e-6)


def trained(seed) -> float:
    """The held-out loss after 500 steps."""
    model: Transformer = build("mla", "moe", seed=seed).train()
    optimizer = adamw(model)
    for number in range(STEPS):
        loss_of(model, text(1000 * (seed + 1) + number)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        return loss_of(model, text(0, rows=16)).item()


@pytest.fixture(scope="module")
def seeds():
    return [trained(seed) for seed in range(4)]


@pytest.mark.slow
@pytest.mark.parametrize("form", PLAIN)
def test_after_500_steps_the_loss_is_within_the_seeds_spread(seeds, form, monkeypatch):
    PLAIN[form](monkeypatch)
    assert min(seeds) < 0.6 * torch.tensor(VOCABULARY).log().item(), "something was learned"
    plain = trained(0)
    print(f"{form}: {plain:.4f}, as shipped {seeds[0]:.4f}, over seeds {min(seeds):.4f} to {max(seeds):.4f}")
    assert abs(plain - seeds[0]) <= max(seeds) - min(seeds)
