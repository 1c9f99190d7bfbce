"""Every preset against its paper's equation as nested loops, and whole = cut into micro-batches."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from deepseek_lab.config import ConfigError
from deepseek_lab.objectives.policy_loss_config import PolicyLossConfig

CONF = Path(__file__).resolve().parents[2] / "conf" / "loss"
PRESETS = sorted(path.stem for path in CONF.glob("[!_]*.yaml"))
G, LONGEST = 2, 6
LENGTHS = [3, 1, 4, 2]


def preset(name):
    values = {
        **yaml.safe_load((CONF / "_base.yaml").read_text()),
        **yaml.safe_load((CONF / f"{name}.yaml").read_text()),
    }
    del values["defaults"]
    assert values.pop("_target_").endswith(".PolicyLossConfig")
    return PolicyLossConfig(**values).build()


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(0)
    new, old, reference = (-torch.rand(3, 4, 5, generator=g, dtype=torch.float64) * 2).unbind()
    mask = torch.arange(5)[None] < torch.tensor(LENGTHS)[:, None]
    advantage = torch.randn(4, 1, generator=g, dtype=torch.float64).expand(4, 5)
    return {"logp_BT": new, "logp_old_BT": old, "advantage_BT": advantage, "mask_BT": mask}, reference


def by_hand(name, batch, reference):
    """-J of the papers, from loops over groups, answers and tokens."""
    low, high, beta = {
        "grpo_deepseekmath": (0.2, 0.2, 0.04),
        "r1_zero": (10.0, 10.0, 0.001),
        "dr_grpo": (0.2, 0.2, 0.0),
        "dapo": (0.2, 0.28, 0.0),
        "gspo": (3e-4, 4e-4, 0.0),
        "ppo": (0.2, 0.2, 0.0),
    }[name]
    new, old, advantage = (batch[key].tolist() for key in ("logp_BT", "logp_old_BT", "advantage_BT"))
    per_answer = []
    for i, n in enumerate(LENGTHS):
        ratios = [math.exp(new[i][t] - old[i][t]) for t in range(n)]
        if name == "gspo":
            ratios = [math.prod(ratios) ** (1 / n)] * n
        terms = []
        for t, ratio in enumerate(ratios):
            a = advantage[i][t]
            d = reference[i][t].item() - new[i][t]
            surrogate = min(ratio * a, min(max(ratio, 1 - low), 1 + high) * a)
            terms.append(surrogate - beta * (math.exp(d) - d - 1))
        per_answer.append(terms)
    groups = [per_answer[:2], per_answer[2:]]
    if name == "dapo":
        values = [sum(map(sum, group)) / sum(map(len, group)) for group in groups]
    elif name == "dr_grpo":
        values = [sum(map(sum, group)) / LONGEST / G for group in groups]
    elif name == "ppo":
        return -sum(map(sum, per_answer)) / sum(map(len, per_answer))
    else:
        values = [sum(sum(terms) / len(terms) for terms in group) / G for group in groups]
    return -sum(values) / len(groups)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_papers_equation(name, batch):
    tensors, reference = batch
    loss = preset(name)
    value, _ = loss.loss(
        **tensors,
        weight_BT=loss.weights(tensors["mask_BT"], G, LONGEST),
        logp_reference_BT=reference if loss.kl_weight else None,
    )
    assert value.item() == pytest.approx(by_hand(name, tensors, reference), rel=1e-12)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [1, 2, 4])
def test_micro_batches_add_up_to_the_step(name, size, batch):
    tensors, reference = batch
    loss = preset(name)
    whole = {**tensors, "weight_BT": loss.weights(tensors["mask_BT"], G, LONGEST), "logp_reference_BT": reference}
    parts = [loss.loss(**{k: v[i : i + size] for k, v in whole.items()})[0] for i in range(0, 4, size)]
    torch.testing.assert_close(sum(parts), loss.loss(**whole)[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", PRESETS)
def test_the_sign_descent_raises_what_was_better_than_expected(name, batch):
    tensors, _ = batch
    loss = preset(name)
    logp = tensors["logp_BT"].clone().requires_grad_()
    tensors |= {"logp_BT": logp, "logp_old_BT": logp.detach(), "advantage_BT": torch.ones(4, 5).double()}
    weight = loss.weights(tensors["mask_BT"], G, LONGEST)
    loss.loss(**tensors, weight_BT=weight, logp_reference_BT=logp.detach())[0].backward()
    assert (logp.grad[tensors["mask_BT"]] < 0).all()
    assert (logp.grad[~tensors["mask_BT"]] == 0).all()


def test_what_padding_holds_does_not_matter(batch):
    tensors, reference = batch
    loss = preset("grpo_deepseekmath")
    mask = tensors["mask_BT"]
    weight = loss.weights(mask, G, LONGEST)
    clean = loss.loss(**tensors, weight_BT=weight, logp_reference_BT=reference)[0]
    dirty = {k: v.clone().masked_fill(~mask, math.nan) if v.is_floating_point() else v for k, v in tensors.items()}
    again = loss.loss(**dirty, weight_BT=weight, logp_reference_BT=reference.masked_fill(~mask, -math.inf))[0]
    assert again.item() == clean.item()


def test_a_kl_without_a_reference_is_refused(batch):
    loss = preset("grpo_deepseekmath")
    with pytest.raises(ValueError, match="reference"):
        loss.loss(**batch[0], weight_BT=batch[0]["mask_BT"].double())


@pytest.mark.parametrize(
    ("change", "field"),
    [({"clip_low": -0.1}, "clip_low"), ({"clip_low": 2.0}, "clip_low"), ({"dual_clip": 0.5}, "dual_clip"),
     ({"importance_cap": 0.0}, "importance_cap"), ({"overlong_share": 1.5}, "overlong_share")],
)  # fmt: skip
def test_impossible_choices_are_refused(change, field):
    with pytest.raises(ConfigError, match=field):
        replace(preset("dapo"), **change)


def test_form_joins_the_answer_in_three_ways():
    answer, form = torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    summed, separate, gate = (
        replace(preset("grpo_deepseekmath"), format=how).advantages(answer, form, 4)
        for how in ("summed", "separate", "gate")
    )
    alone = preset("grpo_deepseekmath").advantages(answer, None, 4)
    assert summed[0] > summed[1] == summed[2] > summed[3]
    torch.testing.assert_close(separate, alone + preset("grpo_deepseekmath").advantages(form, None, 4))
    assert gate[0] > 0 > gate[2] == gate[3], "a right answer in a wrong form is worth nothing"


def test_what_dapo_asks_of_rollouts_and_grpo_does_not():
    right, length = torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([80, 90, 100, 10])
    assert preset("dapo").kept_groups(right, 2).tolist() == [False, True]
    assert preset("grpo_deepseekmath").kept_groups(right, 2).tolist() == [True, True]
    assert preset("dapo").length_penalty(length, 100).tolist() == [0, -0.5, -1, 0]
    assert preset("gspo").length_penalty(length, 100).tolist() == [0, 0, 0, 0]
    mask, cut = torch.ones(2, 2, dtype=torch.bool), torch.tensor([True, False])
    assert preset("dapo").counted(mask, cut).all()
    assert replace(preset("dapo"), mask_truncated=True).counted(mask, cut).sum() == 2
