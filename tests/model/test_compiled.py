"""Compiled blocks give the loss and gradients of plain ones, and only passes with gradients are compiled."""

import copy

import pytest
import torch

from deepseek_lab import seams
from deepseek_lab.model import compiled
from deepseek_lab.model.block import Block
from deepseek_lab.model.compiled import compile_blocks
from model.tiny import build, tokens


def gradients(model):
    output = model(tokens(2, 24), mtp=True)
    loss = output.logits.square().mean() + output.mtp_logits(1).square().mean()
    loss.backward()
    return loss.detach(), {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize(("attention", "ffn"), [("gqa", "dense"), ("mla", "moe")])
def test_the_first_step_is_that_of_plain_blocks(attention, ffn):
    plain = build(attention, ffn, mtp=1).train()
    ours = copy.deepcopy(plain)
    compile_blocks(ours)
    assert ours.state_dict().keys() == plain.state_dict().keys()
    torch._dynamo.reset()
    (loss, found), (plain_loss, wanted) = gradients(ours), gradients(plain)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    torch.testing.assert_close(loss, plain_loss, rtol=0, atol=1e-6)
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 1e-5 * gradient.norm(), name


def test_passes_without_gradients_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(compiled, "_compiled_forward", lambda: pytest.fail("was compiled"))
    plain = build("mla", "moe").eval()
    ours = copy.deepcopy(plain)
    compile_blocks(ours)
    with torch.no_grad():
        assert torch.equal(ours(tokens(2, 24)).logits, plain(tokens(2, 24)).logits)


@pytest.mark.parametrize(
    ("device_type", "precision"),
    [
        ("cuda", "fp32"),
        ("cpu", "bf16"),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("cuda", "bf16"), ("cpu", "fp32"))),
    ],
)
def test_a_mixture_compiles_whatever_the_device(monkeypatch, device_type, precision):
    """Traced as for a device: torch's grouped kernel has a compiled form in bf16 and beside the CPU only."""
    can = seams._can_be_traced
    monkeypatch.setattr(seams, "_can_be_traced", lambda dtype, _: can(dtype, device_type))
    torch._dynamo.reset()
    whole = torch.compile(Block.forward, backend="aot_eager")
    monkeypatch.setattr(compiled, "_compiled_forward", lambda: whole)
    plain = build("gqa", "moe", n_layers=2).train()
    ours = copy.deepcopy(plain)
    compile_blocks(ours)
    found = []
    for model in (ours, plain):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = model(tokens(2, 16))
        output.logits.float().square().mean().backward()
        found.append({name: weight.grad for name, weight in model.named_parameters()})
    for name, gradient in found[1].items():
        assert (found[0][name] - gradient).norm() <= (1e-5 if precision == "fp32" else 5e-2) * gradient.norm(), name
