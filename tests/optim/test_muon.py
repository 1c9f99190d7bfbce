"""Muon against torch's own on plain matrices, against its parts on stacked ones, and against AdamW on the rest."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from deepseek_lab.config import ConfigError
from deepseek_lab.optim.adamw import AdamW
from deepseek_lab.optim.muon import Muon
from tests.model import tiny

CONFIG = Muon.Config(
    lr=1e-2,
    weight_decay=0.1,
    max_grad_norm=1.0,
    momentum=0.95,
    nesterov=True,
    newton_schulz_steps=5,
    adamw_parts=["embedding", "head", "router"],
    stacked={"gate_up": 2, "gate_up_EXD": 2},
    betas=[0.9, 0.95],
    eps=1e-8,
    fused=True,
)


class Named(nn.Module):
    """Parameters by name, `__` standing for a dot."""

    def __init__(self, **tensors):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_parameter(name, nn.Parameter(tensor.clone()))

    def names(self):
        return dict(self.named_parameters())


def stepped(model, optimizer, gradients, steps=3):
    """The parameters after steps with gradients that change from step to step."""
    for step in range(steps):
        for name, p in model.named_parameters():
            p.grad = gradients[name].roll(step, dims=-1).clone()
        optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
def test_a_matrix_moves_as_with_torchs_own(shape, nesterov):
    """Torch's iterates in bf16, so the updates agree to its three digits."""
    torch.manual_seed(0)
    start, gradient = torch.randn(shape), torch.randn(shape)
    ours, theirs = Named(w=start), Named(w=start)
    reference = torch.optim.Muon(
        theirs.parameters(), lr=1e-2, weight_decay=0.1, nesterov=nesterov, adjust_lr_fn="match_rms_adamw"
    )
    mine = stepped(ours, replace(CONFIG, nesterov=nesterov).build(ours), {"w": gradient})["w"]
    yours = stepped(theirs, reference, {"w": gradient})["w"]
    moved = (yours - start).norm()
    assert (mine - yours).norm() < 0.03 * moved


def test_the_update_is_as_large_as_adamws():
    """0.2·√max(R, C) of an orthogonal matrix: a root mean square of about 0.2, whatever the shape."""
    torch.manual_seed(0)
    for shape in [(16, 16), (8, 64), (64, 8)]:
        model = Named(w=torch.zeros(shape))
        moved = stepped(model, CONFIG.build(model), {"w": torch.randn(shape)}, steps=1)["w"] / CONFIG.lr
        assert 0.14 < float(moved.square().mean().sqrt()) < 0.25


def test_gate_and_up_and_every_expert_are_matrices_of_their_own():
    torch.manual_seed(0)
    weight, gradient = torch.randn(3, 8, 5), torch.randn(3, 8, 5)
    whole = Named(gate_up_EXD=weight)
    together = stepped(whole, CONFIG.build(whole), {"gate_up_EXD": gradient})["gate_up_EXD"]
    pieces = {f"w{e}{half}": (e, slice(4 * half, 4 * half + 4)) for e in range(3) for half in range(2)}
    apart = Named(**{name: weight[where] for name, where in pieces.items()})
    alone = stepped(apart, CONFIG.build(apart), {name: gradient[where] for name, where in pieces.items()})
    for name, where in pieces.items():
        torch.testing.assert_close(together[where], alone[name], rtol=1e-4, atol=1e-6)


def test_matrices_inside_are_muons_and_the_rest_is_adamws():
    model = tiny.build("mla", "moe", 1)
    optimizer = CONFIG.build(model)
    names = {id(p): name for name, p in model.named_parameters()}
    muons = {names[id(p)] for group in optimizer.param_groups if group["n_stacked"] for p in group["params"]}
    others = {names[id(p)] for group in optimizer.param_groups if not group["n_stacked"] for p in group["params"]}
    assert muons | others == set(names.values())
    assert not muons & others
    assert {name for name in others if "norm" not in name} == {
        name for name in names.values() if "router" in name or name in ("embedding.weight", "head.weight")
    }
    assert any(name.endswith("experts.gate_up_EXD") for name in muons)
    assert not any("norm" in name for name in muons)


def test_what_is_adamws_moves_as_with_adamw():
    torch.manual_seed(0)
    tensors = {"embedding": torch.randn(5, 4), "norm": torch.randn(4)}
    gradients = {name: torch.randn_like(tensor) for name, tensor in tensors.items()}
    ours, theirs = Named(**tensors), Named(**tensors)
    reference = AdamW.Config(
        lr=1e-2, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1, max_grad_norm=None, fused=True, moments="fp32"
    ).build(theirs)
    mine, yours = (
        stepped(ours, CONFIG.build(ours), gradients),
        stepped(theirs, reference, gradients),
    )
    torch.testing.assert_close(mine, yours)


def test_a_parameter_without_a_gradient_stays():
    model = Named(w=torch.ones(2, 2), norm=torch.ones(2))
    CONFIG.build(model).step()
    assert all(bool((p == 1).all()) for p in model.parameters())


def test_the_batch_is_cut_where_memory_ends(monkeypatch):
    torch.manual_seed(0)
    tensors = {f"w{i}": torch.randn(3, 4) for i in range(5)}
    gradients = {name: torch.randn_like(tensor) for name, tensor in tensors.items()}
    one, cut = Named(**tensors), Named(**tensors)
    whole = stepped(one, CONFIG.build(one), gradients)
    monkeypatch.setattr("deepseek_lab.optim.muon.AT_ONCE", 24)
    torch.testing.assert_close(stepped(cut, CONFIG.build(cut), gradients), whole, rtol=1e-4, atol=1e-6)


def test_state_goes_on_to_the_bit():
    torch.manual_seed(0)
    tensors = {"w": torch.randn(3, 4), "embedding": torch.randn(5, 4)}
    gradients = {name: torch.randn_like(tensor) for name, tensor in tensors.items()}
    whole = Named(**tensors)
    optimizer = CONFIG.build(whole)
    stepped(whole, optimizer, gradients)
    second = Named(**{name: p.detach() for name, p in whole.named_parameters()})
    resumed = CONFIG.build(second)
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    ours, theirs = stepped(second, resumed, gradients), stepped(whole, optimizer, gradients)
    assert all(torch.equal(ours[name], theirs[name]) for name in tensors)


def test_what_a_plan_counts_is_what_is_kept():
    model = tiny.build("mla", "moe", 1)
    optimizer = CONFIG.build(model)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    kept = sum(value.numel() for state in optimizer.state.values() for name, value in state.items() if name != "step")
    assert CONFIG.state_bytes(model) == 4 * kept


@pytest.mark.parametrize(
    ("field", "value"),
    [("lr", -1.0), ("momentum", 1.0), ("newton_schulz_steps", 0), ("betas", [0.9]), ("adamw_parts", "head")],
)
def test_bad_configs(field, value):
    with pytest.raises(ConfigError) as error:
        replace(CONFIG, **{field: value})
    assert error.value.field == field


def test_a_stack_that_does_not_divide_the_rows_is_refused():
    with pytest.raises(ConfigError, match=r"stacked.gate_up = 2 does not cut the 3 rows"):
        CONFIG.build(Named(gate_up=torch.randn(3, 4)))
