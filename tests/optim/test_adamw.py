"""The optimiser built is torch's, with the config's settings; a bad config is refused."""

import pytest
import torch
from torch import nn

from deepseek_lab.config import ConfigError
from deepseek_lab.optim.adamw import AdamW

DEFAULTS = {
    "lr": 1e-2,
    "betas": [0.9, 0.95],
    "eps": 1e-8,
    "weight_decay": 0.1,
    "max_grad_norm": 1.0,
    "fused": True,
    "moments": "fp32",
}


def stepped(fused):
    """A small layer after three steps on a fixed loss."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = AdamW.Config(**DEFAULTS | {"fused": fused}).build(model)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
    return model


def by_hand():
    """The same three steps written out (Loshchilov & Hutter 2019, algorithm 2)."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in model.named_parameters()}
    for step in range(1, 4):
        model.zero_grad()
        model(torch.ones(2, 4)).square().sum().backward()
        with torch.no_grad():
            for name, p in model.named_parameters():
                first, second = moments[name]
                first.mul_(0.9).add_(0.1 * p.grad)
                second.mul_(0.95).add_(0.05 * p.grad**2)
                p.mul_(1 - 1e-2 * (0.1 if p.ndim > 1 else 0.0))
                p.sub_(1e-2 * (first / (1 - 0.9**step)) / ((second / (1 - 0.95**step)).sqrt() + 1e-8))
    return model


@pytest.mark.parametrize("fused", [True, False])
def test_steps_are_the_papers(fused):
    for ours, theirs in zip(stepped(fused).parameters(), by_hand().parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr", "fast"),
        ("lr", -1e-3),
        ("betas", [0.9]),
        ("betas", [0.9, 1.0]),
        ("weight_decay", -0.1),
        ("max_grad_norm", -1.0),
        ("fused", 1),
    ],
)
def test_bad_configs(field, value):
    with pytest.raises(ConfigError) as error:
        AdamW.Config(**DEFAULTS | {field: value})
    assert error.value.field == field


def test_clipping_may_be_off():
    assert AdamW.Config(**DEFAULTS | {"max_grad_norm": None}).max_grad_norm is None


def narrow_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))


def train(model, optimizer, steps):
    for step in steps:
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(step)
        model(torch.randn(4, 6, generator=generator)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("fused", [True, False])
def test_narrow_moments_are_wide_ones_rounded_after_each_step(fused):
    model, reference = narrow_model(), narrow_model()
    optimizer = AdamW.Config(**DEFAULTS | {"moments": "bf16", "fused": fused}).build(model)
    wide = AdamW.Config(**DEFAULTS | {"fused": fused}).build(reference)
    for step in range(4):
        train(model, optimizer, [step])
        train(reference, wide, [step])
        for state in wide.state.values():
            for name in ("exp_avg", "exp_avg_sq"):
                state[name].copy_(state[name].bfloat16())
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    kept = {value.dtype for state in optimizer.state.values() for name, value in state.items() if name != "step"}
    assert kept == {torch.bfloat16}
    assert len(optimizer.param_groups) == 2


def test_narrow_moments_resume_to_the_bit():
    whole, model = narrow_model(), narrow_model()
    config = AdamW.Config(**DEFAULTS | {"moments": "bf16"})
    train(whole, config.build(whole), range(6))
    first = config.build(model)
    train(model, first, range(3))
    resumed = config.build(model)
    resumed.load_state_dict(first.state_dict())
    assert all(s["exp_avg"].dtype == torch.bfloat16 for s in resumed.state.values())
    train(model, resumed, range(3, 6))
    for ours, theirs in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("moments", ["fp32", "bf16"])
def test_what_a_plan_counts_is_what_is_kept(moments):
    model, config = nn.Linear(4, 3), AdamW.Config(**DEFAULTS | {"moments": moments})
    optimizer = config.build(model)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    kept = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    assert config.state_bytes(model) == sum(value.numel() * value.element_size() for value in kept)
