"""Balance losses against their formulas written as loops, and the bias rule on a skewed stream."""

import math

import pytest
import torch

from deepseek_lab.config import ConfigError
from deepseek_lab.objectives import balance
from deepseek_lab.objectives.balance import Balance, balance_losses

B, T, E, K, DEVICES, LIMIT = 2, 5, 8, 3, 4, 2  # 3 experts a token on 4 devices of 2: some share a device
OFF = {
    "bias_update_speed": 0.0,
    "bias_update_until": 1.0,
    "sequence_wise_alpha": 0.0,
    "batch_wise_alpha": 0.0,
    "expert_alpha": 0.0,
    "device_alpha": 0.0,
    "communication_alpha": 0.0,
    "n_devices": 1,
    "n_limited_devices": 1,
}
VALID = torch.tensor([[True, True, False, True, True], [False, True, True, True, False]])


def affinities(seed=0):
    """Sigmoid scores and a choice that a selection bias has moved away from their top K."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.sigmoid(torch.randn(B, T, E, generator=generator, dtype=torch.float64)).requires_grad_()
    biased = scores.detach() + torch.rand(E, generator=generator)
    return scores, biased.topk(K, dim=-1).indices


def loop(scores, chosen, valid, kind):
    """Σ f·P of every sequence as the papers write it, one term at a time, averaged over the sequences."""
    sequences = []
    for b in range(scores.shape[0]):
        tokens = [t for t in range(scores.shape[1]) if valid[b, t]]
        experts = scores.shape[2]
        count, kept = len(tokens), chosen.shape[2]
        f = [experts / (kept * count) * sum(i in chosen[b, t].tolist() for t in tokens) for i in range(experts)]
        p = [sum(scores[b, t, i].item() / scores[b, t].sum().item() for t in tokens) / count for i in range(experts)]
        if kind == "expert":
            sequences.append(sum(x * y for x, y in zip(f, p, strict=True)))
            continue
        size = experts // DEVICES
        total = 0.0
        for d in range(DEVICES):
            own = range(d * size, (d + 1) * size)
            sent = sum(any(i in own for i in chosen[b, t].tolist()) for t in tokens)
            share = sum(f[i] for i in own) / size if kind == "device" else DEVICES / (LIMIT * count) * sent
            total += share * sum(p[i] for i in own)
        sequences.append(total)
    return sum(sequences) / len(sequences)


LOSSES = {
    "expert": lambda s, c, v: balance.expert_loss(s, c, v),
    "device": lambda s, c, v: balance.device_loss(s, c, v, DEVICES),
    "communication": lambda s, c, v: balance.communication_loss(s, c, v, DEVICES, LIMIT),
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("valid", [None, VALID])
def test_equals_the_formula(kind, valid):
    scores, chosen = affinities()
    counted = torch.ones(B, T, dtype=torch.bool) if valid is None else valid
    assert LOSSES[kind](scores, chosen, valid).item() == pytest.approx(loop(scores, chosen, counted, kind), rel=1e-12)


@pytest.mark.parametrize("valid", [None, VALID])
def test_sequence_wise_counts_the_top_of_the_unbiased_scores(valid):
    scores, chosen = affinities()
    top = scores.topk(K, dim=-1).indices
    assert not torch.equal(top.sort(-1).values, chosen.sort(-1).values)
    counted = torch.ones(B, T, dtype=torch.bool) if valid is None else valid
    ours = balance.sequence_wise_loss(scores, K, valid).item()
    assert ours == pytest.approx(loop(scores, top, counted, "expert"), rel=1e-12)


@pytest.mark.parametrize("valid", [None, VALID])
def test_batch_wise_is_one_long_sequence(valid):
    scores, _ = affinities()
    counted = torch.ones(B, T, dtype=torch.bool) if valid is None else valid
    long = scores.reshape(1, B * T, E)
    wanted = loop(long, long.topk(K, dim=-1).indices, counted.reshape(1, -1), "expert")
    assert balance.batch_wise_loss(scores, K, valid).item() == pytest.approx(wanted, rel=1e-12)
    assert wanted != pytest.approx(balance.sequence_wise_loss(scores, K, valid).item(), rel=1e-3)


def test_masked_tokens_change_nothing():
    scores, chosen = affinities()
    other, other_chosen = affinities(seed=1)
    mixed = torch.where(VALID[..., None], scores, other)
    mixed_chosen = torch.where(VALID[..., None], chosen, other_chosen)
    for loss in LOSSES.values():
        torch.testing.assert_close(loss(scores, chosen, VALID), loss(mixed, mixed_chosen, VALID))


def test_a_sequence_without_a_valid_token_is_left_out():
    scores, chosen = affinities()
    valid = torch.tensor([[True] * T, [False] * T])
    for loss in LOSSES.values():
        torch.testing.assert_close(loss(scores, chosen, valid), loss(scores[:1], chosen[:1], None))
        assert loss(scores, chosen, torch.zeros(B, T, dtype=torch.bool)) == 0


def balanced():
    """8 tokens; token t chooses experts t and t + 4: every expert twice, always on 2 of 4 devices."""
    chosen = torch.stack([torch.arange(E), (torch.arange(E) + 4) % E], dim=-1)[None]
    scores = torch.full((1, E, E), 0.1, dtype=torch.float64).scatter(2, chosen, 0.9)
    return scores.requires_grad_(), chosen


ALPHAS = {
    "sequence_wise_alpha": 1e-4,
    "batch_wise_alpha": 0.01,
    "expert_alpha": 0.003,
    "device_alpha": 0.05,
    "communication_alpha": 0.02,
}


@pytest.mark.parametrize("field", ALPHAS)
def test_perfect_balance_gives_exactly_alpha(field):
    config = Balance(**OFF | {field: ALPHAS[field], "n_devices": DEVICES, "n_limited_devices": LIMIT})
    scores, chosen = balanced()
    loss, parts = balance_losses(scores, chosen, None, config)
    assert loss.item() == pytest.approx(ALPHAS[field], rel=1e-12)
    assert list(parts) == [field.removesuffix("_alpha")]


def test_parts_add_up_and_are_detached():
    config = Balance(**OFF | ALPHAS | {"n_devices": DEVICES, "n_limited_devices": LIMIT})
    scores, chosen = affinities()
    loss, parts = balance_losses(scores, chosen, VALID, config)
    assert len(parts) == 5
    assert loss.item() == pytest.approx(sum(part.item() for part in parts.values()), rel=1e-12)
    assert loss.requires_grad
    assert not any(part.requires_grad for part in parts.values())


def test_nothing_on_gives_zero_and_no_parts():
    scores, chosen = affinities()
    loss, parts = balance_losses(scores, chosen, None, Balance(**OFF))
    assert loss == 0
    assert parts == {}
    assert not Balance(**OFF).has_losses
    assert all(Balance(**OFF | {field: 0.1}).has_losses for field in ALPHAS)


@pytest.mark.parametrize("kind", [*LOSSES, "sequence_wise", "batch_wise"])
def test_descent_moves_affinity_from_the_crowded_to_the_idle(kind):
    """All tokens choose experts 0 and 1; a step against the gradient must make those less likely."""
    logits = torch.zeros(B, T, E, dtype=torch.float64)
    logits[..., :2] = 1.0
    logits.requires_grad_()
    scores = torch.softmax(logits, dim=-1)
    chosen = torch.tensor([0, 1]).expand(B, T, 2)
    losses = LOSSES | {
        "sequence_wise": lambda s, c, v: balance.sequence_wise_loss(s, 2, v),
        "batch_wise": lambda s, c, v: balance.batch_wise_loss(s, 2, v),
    }
    losses[kind](scores, chosen, None).backward()
    assert (logits.grad[..., :2] > 0).all()
    assert (logits.grad[..., 2:] < 0).all()


def test_the_count_carries_no_gradient():
    """dL/dP is f alone: the gradient equals that of Σ f·P with f a constant."""
    scores, chosen = affinities()
    ours = torch.autograd.grad(balance.expert_loss(scores, chosen), scores)[0]
    f = torch.zeros(B, E, dtype=torch.float64).scatter_add_(
        1, chosen.flatten(1), torch.full((B, T * K), E / (K * T), dtype=torch.float64)
    )
    share = (scores / scores.sum(-1, keepdim=True)).mean(1)
    torch.testing.assert_close(ours, torch.autograd.grad((f * share).sum(1).mean(), scores)[0])


def test_bias_rule():
    bias = torch.tensor([0.5, 0.0, -0.5])
    updated = balance.updated_bias(bias, torch.tensor([9, 6, 3]), 0.001)
    torch.testing.assert_close(updated, torch.tensor([0.499, 0.0, -0.499]))
    assert torch.equal(balance.updated_bias(bias, torch.tensor([9, 6, 3]), 0.0), bias)


def skewed_load(speed, steps=400):
    """Load of the last steps of a stream in which a few experts are liked far more than the others."""
    generator = torch.Generator().manual_seed(0)
    liking, bias = torch.linspace(-1.5, 1.5, 16), torch.zeros(16)
    total = torch.zeros(16)
    for step in range(steps):
        scores = torch.sigmoid(torch.randn(512, 16, generator=generator) + liking)
        load = torch.bincount((scores + bias).topk(4, dim=-1).indices.flatten(), minlength=16).float()
        bias = balance.updated_bias(bias, load, speed)
        total += load if step >= steps - 20 else 0
    return balance.load_max_over_mean(total).item()


def test_bias_updates_balance_a_skewed_stream():
    assert skewed_load(speed=0.0) > 2.0
    assert skewed_load(speed=0.005) < 1.3


def test_load_curves():
    loads = torch.tensor([[4.0, 4.0, 4.0, 4.0], [16.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert balance.load_max_over_mean(loads).tolist() == [1.0, 4.0, 0.0]
    assert balance.load_entropy(loads).tolist() == pytest.approx([1.0, 0.0, 0.0])
    half = balance.load_entropy(torch.tensor([3, 3, 0, 0]))
    assert half.item() == pytest.approx(math.log(2) / math.log(4))


def test_bias_speed_ends_where_the_config_says():
    config = Balance(**OFF | {"bias_update_speed": 0.001, "bias_update_until": 0.966})
    speeds = [config.bias_speed(step, 1000) for step in range(1000)]
    assert speeds == [0.001] * 966 + [0.0] * 34


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expert_alpha", -0.1),
        ("bias_update_speed", -0.1),
        ("bias_update_until", 1.5),
        ("n_devices", 0),
        ("n_limited_devices", 2),
        ("device_alpha", "much"),
    ],
)
def test_bad_configs(field, value):
    with pytest.raises(ConfigError) as error:
        Balance(**OFF | {field: value})
    assert error.value.field == field


def test_devices_must_share_the_experts():
    scores, chosen = affinities()
    config = Balance(**OFF | {"device_alpha": 0.05, "n_devices": 3})
    with pytest.raises(ConfigError, match="n_devices must divide the 8 routed experts"):
        balance_losses(scores, chosen, None, config)
    balance_losses(scores, chosen, None, Balance(**OFF | {"expert_alpha": 0.05, "n_devices": 3}))
