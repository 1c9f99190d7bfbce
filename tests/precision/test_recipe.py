"""A recipe names Lightning's precision, keeps fp32 masters, and warns where it would be slow."""

import pytest
import torch
from torch import nn

from deepseek_lab.config import ConfigError
from deepseek_lab.precision import Recipe, apply, has_bf16_units, warn_if_slow


def test_names_lightning_takes():
    assert Recipe(name="fp32").lightning == "32-true"
    assert Recipe(name="bf16").lightning == "bf16-mixed"


def test_unknown_name():
    with pytest.raises(ConfigError, match="one of fp32, bf16"):
        Recipe(name="fp7")


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_masters_are_fp32_in_place(name):
    """A model read in bf16 is widened; ties, names, values and integer buffers stay."""
    model = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 3, bias=False)).bfloat16()
    model[1].weight = model[0].weight
    model.register_buffer("count", torch.arange(3))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    apply(model, Recipe(name=name))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model[0].weight is model[1].weight
    assert model.count.dtype == torch.int64
    for key, value in model.state_dict().items():
        assert torch.equal(value.to(before[key].dtype), before[key])


@pytest.mark.parametrize(
    ("capabilities", "units"),
    [({"avx2": True, "avx512_bf16": False}, False), ({"avx512_bf16": True}, True), ({"bf16": True}, True), ({}, False)],
)
def test_warns_only_for_bf16_on_a_cpu_without_units(monkeypatch, capabilities, units):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bf16_units() == units
    warning = warn_if_slow(Recipe(name="bf16"), "cpu")
    assert (warning is None) == units
    assert warning is None or "\n" not in warning
    assert warn_if_slow(Recipe(name="fp32"), "cpu") is None
    assert warn_if_slow(Recipe(name="bf16"), "cuda") is None


def test_torch_answers_what_this_cpu_can():
    """The real query works here, whatever it says."""
    assert has_bf16_units() in (True, False)
