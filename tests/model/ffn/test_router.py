"""Routers: who is chosen, with what weight, and that the bias only ever chooses."""

import pytest
import torch

from deepseek_lab.config import ConfigError
from deepseek_lab.model.ffn.router import RouterConfig, SigmoidRouter, SoftmaxRouter

N, D, E, K = 40, 16, 8, 3


def sizes(**changes):
    return RouterConfig(**({"n_routed_experts": E, "n_activated_experts": K} | changes))


def router(kind, **changes):
    torch.manual_seed(0)
    made = kind(sizes(**changes), D)
    torch.nn.init.normal_(made.weight, std=0.5)
    return made


def inputs():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(1))


def by_expert(weight_NK, chosen_NK):
    return torch.zeros(N, E).scatter(1, chosen_NK, weight_NK)


@pytest.mark.parametrize("normalised", [True, False])
def test_the_bias_never_enters_a_weight(normalised):
    """A bias too small to change a choice changes nothing; one that changes it leaves equal choices equal."""
    made, x = router(SigmoidRouter, norm_topk_prob=normalised, route_scale=2.5), inputs()
    affinity, weight, chosen = made(x)
    scores = torch.zeros(N, E).scatter(1, chosen, 1.0) * affinity
    wanted = 2.5 * (scores / scores.sum(1, keepdim=True) if normalised else scores)
    torch.testing.assert_close(by_expert(weight, chosen), wanted)

    made.selection_bias_E.copy_(torch.linspace(-0.2, 0.2, E))
    biased_affinity, biased_weight, biased_chosen = made(x)
    assert torch.equal(biased_affinity, affinity)
    same_choice = (chosen.sort().values == biased_chosen.sort().values).all(1)
    assert 5 < same_choice.sum() < N - 5  # the bias did move some tokens, and left some alone
    torch.testing.assert_close(
        by_expert(biased_weight, biased_chosen)[same_choice], by_expert(weight, chosen)[same_choice]
    )


def test_the_bias_chooses():
    made = router(SigmoidRouter)
    made.selection_bias_E[5] = 10.0
    assert (made(inputs())[2] == 5).any(dim=1).all()


def test_the_bias_is_a_buffer_without_gradient():
    made = router(SigmoidRouter)
    assert [name for name, _ in made.named_parameters()] == ["weight"]
    assert "selection_bias_E" in made.state_dict()
    assert made.selection_bias_E.dtype == torch.float32
    assert router(SoftmaxRouter).selection_bias_E is None


def test_masked_groups_lose_to_negative_scores_in_kept_groups():
    """Sigmoid plus a negative bias can be below 0; a mask of 0 would let a dropped expert win."""
    made = router(SigmoidRouter, n_expert_groups=2, n_limited_groups=1, n_activated_experts=4)
    made.selection_bias_E.fill_(-2.0)
    chosen = made(inputs())[2]
    groups = chosen // (E // 2)
    assert (groups == groups[:, :1]).all()


def test_groups_are_ranked_by_their_two_best():
    """Group 0 holds the single best expert, group 1 the better pair: V3 keeps 1, V2 (by the best) 0."""
    affinity = torch.tensor([[0.9, 0.1, 0.6, 0.7]])
    changes = {"n_routed_experts": 4, "n_activated_experts": 2, "n_expert_groups": 2, "n_limited_groups": 1}
    assert router(SigmoidRouter, **changes).choose(affinity).sort().values.tolist() == [[2, 3]]
    softmax = router(SoftmaxRouter, **changes)
    with torch.no_grad():
        softmax.weight.zero_()
        softmax.weight[:, 0] = affinity[0].log()
    x = torch.zeros(1, D)
    x[0, 0] = 1.0
    assert softmax(x)[2].sort().values.tolist() == [[0, 1]]


def test_softmax_weights_are_scaled_or_normalised_never_both():
    x = inputs()
    affinity, weight, chosen = router(SoftmaxRouter, norm_topk_prob=False, route_scale=16.0)(x)
    torch.testing.assert_close(affinity.sum(1), torch.ones(N))
    torch.testing.assert_close(weight, 16.0 * affinity.gather(1, chosen))
    normalised = router(SoftmaxRouter, norm_topk_prob=True, route_scale=16.0)(x)[1]
    torch.testing.assert_close(normalised.sum(1), torch.ones(N))


@pytest.mark.parametrize("kind", [SigmoidRouter, SoftmaxRouter])
def test_scores_in_fp32_under_autocast(kind):
    made, x = router(kind), inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        affinity = made(x)[0]
    assert affinity.dtype == torch.float32
    assert torch.equal(affinity, made(x)[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_activated_experts": 99},
         "n_activated_experts must be at most the 8 routed experts that a token can reach, not 99"),
        ({"n_activated_experts": 5, "n_expert_groups": 4, "n_limited_groups": 2},
         "n_activated_experts must be at most the 4 routed experts that a token can reach, not 5"),
        ({"n_expert_groups": 3}, "n_expert_groups must divide n_routed_experts (8), which 3 does not"),
        ({"n_limited_groups": 2}, "n_limited_groups must be at most n_expert_groups (1), not 2"),
        ({"n_routed_experts": 0}, "n_routed_experts must be at least 1, not 0"),
    ],
)  # fmt: skip
def test_refusals_name_the_field(changes, message):
    with pytest.raises(ConfigError) as refusal:
        sizes(**changes)
    assert str(refusal.value) == message


def test_refuses_groups_of_one_expert_under_the_sigmoid_router():
    with pytest.raises(ConfigError, match=r"^n_expert_groups leaves groups of one expert"):
        router(SigmoidRouter, n_expert_groups=E, n_limited_groups=4)
