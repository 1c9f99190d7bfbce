"""The mixture layer: shared experts at weight one, dense first layers, statistics of what ran."""

import pytest
import torch

from deepseek_lab.config import ConfigError
from deepseek_lab.model.ffn.dense import DenseFeedForward
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from tests.model.tiny import mixture

D = 16


def built(**changes):
    torch.manual_seed(0)
    layer = mixture(**changes).build(D, layer_index=1)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return layer


@torch.no_grad()
def test_shared_experts_are_one_network_of_their_joint_width_added_unweighted():
    layer, x_BTD = built(), torch.randn(2, 5, D)
    assert layer.shared.gate_up.weight.shape == (2 * 2 * 32, D)
    whole, _ = layer(x_BTD)
    shared, layer.shared = layer.shared, None
    routed, _ = layer(x_BTD)
    torch.testing.assert_close(whole, routed + shared(x_BTD), atol=1e-5, rtol=0)


@torch.no_grad()
def test_without_shared_experts_only_the_routed_ones_answer():
    layer = built(n_shared_experts=0)
    assert layer.shared is None
    y_BTD, statistics = layer(torch.randn(2, 5, D))
    assert y_BTD.shape == (2, 5, D)
    assert statistics.load_E.sum() == 2 * 5 * 3


def test_the_first_layers_are_dense():
    kinds = [type(mixture(n_dense_layers=2).build(D, layer_index=i)) for i in range(4)]
    assert kinds == [DenseFeedForward, DenseFeedForward, MixtureOfExperts, MixtureOfExperts]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"router": "tanh"}, "router must be one of sigmoid, softmax, not 'tanh'"),
        ({"moe_intermediate_size": 0}, "moe_intermediate_size must be at least 1, not 0"),
        ({"n_shared_experts": -1}, "n_shared_experts must not be negative, not -1"),
        ({"n_dense_layers": -1}, "n_dense_layers must not be negative, not -1"),
        ({"n_activated_experts": 99},
         "n_activated_experts must be at most the 8 routed experts that a token can reach, not 99"),
    ],
)  # fmt: skip
def test_refusals_name_the_field(changes, message):
    with pytest.raises(ConfigError) as refusal:
        mixture(**changes)
    assert str(refusal.value) == message
