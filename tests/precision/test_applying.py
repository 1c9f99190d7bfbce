"""A recipe over a built model: what it takes hold of, what it leaves alone, what it says."""

import pytest
import torch
from torch import nn

from deepseek_lab.config import ConfigError
from deepseek_lab.model.linear import Linear
from deepseek_lab.precision.applying import apply
from deepseek_lab.precision.coverage import coverage
from deepseek_lab.precision.linear import RoundedLinear
from deepseek_lab.precision.observation import observing, quantised_modules
from deepseek_lab.precision.recipe import FullPrecision
from precision_recipes import bf16, fp8
from tiny_ranks import ranks_config
from tiny_run import tiny_config


def model(config=None):
    torch.manual_seed(0)
    return (config or ranks_config()).build()


def test_names_values_and_ties_stay():
    net = model(ranks_config(tie_embeddings=True))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    apply(net, fp8())
    assert list(net.state_dict()) == list(before)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert net.head_weight_VD is net.embedding.weight


def test_what_v3_keeps_high_stays_as_it_is():
    net = model()
    apply(net, fp8())
    plain = {name for name, module in net.named_modules() if type(module) is Linear}
    assert plain == {"head", "mtp.0.join"}
    assert type(net.embedding) is nn.Embedding
    names = {module.layer.operands.name for module in quantised_modules(net)}
    assert {"blocks.0.attention.wo", "blocks.0.ffn.down", "blocks.1.ffn.experts.gate_up_matmul"} <= names
    assert {"mtp.0.block.attention.wq_a", "blocks.1.ffn.shared.down"} <= names


def test_only_the_input_after_attention_waits_in_e5m6():
    net = model()
    apply(net, fp8())
    kept = {m.layer.operands.name for m in quantised_modules(net) if m.layer.operands.rules.kept}
    assert kept == {f"{place}.attention.wo" for place in ("blocks.0", "blocks.1", "mtp.0.block")}


def test_a_second_call_changes_nothing():
    net = model()
    apply(net, fp8())
    layers = [module.layer for module in quantised_modules(net)]
    apply(net, fp8())
    assert [module.layer for module in quantised_modules(net)] == layers


@pytest.mark.parametrize("recipe", [FullPrecision(name="fp32"), bf16(), fp8()])
def test_a_model_read_in_bf16_is_widened(recipe):
    net = model().bfloat16()
    apply(net, recipe)
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_masters_in_bf16_are_those_of_the_quantised_layers():
    net = model()
    apply(net, fp8(master_weights="bf16"))
    narrow = {name for name, p in net.named_parameters() if p.dtype == torch.bfloat16}
    assert "blocks.0.attention.wo.weight" in narrow
    assert "blocks.1.ffn.experts.down_EDI" in narrow
    assert not any(word in name for name in narrow for word in ("norm", "router", "embedding", "head.", "join"))


def test_what_was_quantised_is_said_in_one_line():
    line = coverage(model(), fp8(), "cpu")
    assert "\n" not in line
    for words in ("fp8, emulated", "products of experts", "router", "padded"):
        assert words in line
    assert coverage(model(), FullPrecision(name="fp32"), "cpu") == "fp32 throughout"
    assert "padded" not in coverage(model(), fp8("fp8_tensorwise"), "cpu")


def test_tiles_that_no_product_takes_together_are_refused():
    with pytest.raises(ConfigError, match=r"weight_tile=128x128 and gradient_tile=128x128 or 1x128"):
        fp8(gradient_tile="tensor")


@pytest.mark.parametrize("name", ["fp8", "fp8_tensorwise", "fp8_rowwise", "fp8_block_gradients"])
def test_a_model_learns_under_every_recipe(name):
    """Gradients point the way of fp32's."""
    gradients = {}
    for recipe in (FullPrecision(name="fp32"), fp8(name)):
        net = model(tiny_config())
        apply(net, recipe)
        tokens = torch.arange(48).view(2, 24) % 16
        net(tokens).logits.logsumexp(-1).sum().backward()
        gradients[recipe.name] = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    cosine = nn.functional.cosine_similarity(*gradients.values(), dim=0)
    assert 0.97 < cosine < 0.99999


def test_observing_counts_what_was_flushed():
    layer = nn.Linear(128, 128, bias=False)
    holder = nn.ModuleDict({"lin": layer})
    apply(holder, fp8("fp8_tensorwise"))
    x = torch.full((4, 128), 1e-6)
    x[0, 0] = 448.0
    x[1] = 0.0
    with observing(holder) as seen:
        layer(x)
    assert seen.underflow_share("activation") == (3 * 128 - 1) / (3 * 128)
    assert seen.amax["activation"] == 448.0
    assert seen.scales["activation"].sum() == 1
    assert seen.scales["activation"][64] == 1, "a scale of 1 is 2^0"
    assert 0 < seen.relative_error < 0.1
    assert isinstance(layer, RoundedLinear)
    assert layer.layer.operands.watch is None
