"""Advantages against loops in plain Python, and the properties the papers rest on."""

import math
import statistics

import pytest
import torch

from deepseek_lab.objectives.advantages import (
    generalised_advantages,
    groups_with_spread,
    outcome_advantages,
    process_advantages,
    rewards_with_kl,
    whitened,
)

NAN = math.nan


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def test_gae_is_the_sum_of_the_paper():
    rewards, values = [0.1, -0.2, 1.0], [0.5, 0.4, -0.3]
    discount, decay = 0.9, 0.8
    deltas = [r + discount * nxt - v for r, v, nxt in zip(rewards, values, [*values[1:], 0.0], strict=True)]
    expected = [sum((discount * decay) ** (k - t) * deltas[k] for k in range(t, 3)) for t in range(3)]
    pad = [9.0, *rewards, 7.0], [8.0, *values, 6.0]
    mask = torch.tensor([[False, True, True, True, False]])
    advantages, returns = generalised_advantages(f64([pad[0]]), f64([pad[1]]), mask, discount, decay)
    torch.testing.assert_close(advantages, f64([[0, *expected, 0]]))
    torch.testing.assert_close(returns, f64([[0, *(a + v for a, v in zip(expected, values, strict=True)), 0]]))


def test_with_full_decay_an_advantage_is_the_reward_to_come_less_the_value():
    rewards, values = f64([[1.0, 2.0, 3.0]]), f64([[0.5, 0.5, 0.5]])
    advantages, _ = generalised_advantages(rewards, values, torch.ones(1, 3, dtype=torch.bool), 1.0, 1.0)
    torch.testing.assert_close(advantages, f64([[5.5, 4.5, 2.5]]))


def test_the_score_stands_at_the_last_token_and_kl_costs_at_each():
    mask = torch.tensor([[False, True, True, False], [True, True, True, True]])
    rewards = rewards_with_kl(f64([2.0, -1.0]), torch.full((2, 4), 0.5, dtype=torch.float64), mask, 0.1)
    torch.testing.assert_close(rewards, f64([[0, -0.05, 1.95, 0], [-0.05, -0.05, -0.05, -1.05]]))


def test_whitening_sees_the_mask_alone():
    out = whitened(f64([[1.0, 3.0, 99.0]]), torch.tensor([[True, True, False]]))
    torch.testing.assert_close(out, f64([[-1, 1, 0]]) / math.sqrt(2), rtol=1e-6, atol=0)


def test_whitening_of_a_part_uses_the_mean_and_deviation_of_the_whole():
    whole = f64([[1.0, 3.0, 99.0], [8.0, 2.0, 4.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    inside = whole[mask]

    def two_ranks(sums):
        """What both ranks' sums come to: of all tokens, then of all squares around the mean of all."""
        if sums.dim():
            return f64([len(inside), inside.sum()])
        return (inside - inside.mean()).square().sum()

    expected = (inside - inside.mean()) / statistics.stdev(inside.tolist())
    for row, part in ((0, expected[:2]), (1, expected[2:])):
        out = whitened(whole[row : row + 1], mask[row : row + 1], over_ranks=two_ranks)
        torch.testing.assert_close(out[mask[row : row + 1]], part)


@pytest.mark.parametrize("scale", ["group", "none"])
def test_outcome_advantages_are_the_formula(scale):
    groups = [[1.0, 0.0, 0.0, 1.0], [0.2, 0.4, -1.0, 3.0]]
    expected = [
        (r - statistics.mean(g)) / ((statistics.stdev(g) + 1e-4) if scale == "group" else 1) for g in groups for r in g
    ]
    torch.testing.assert_close(outcome_advantages(f64([r for g in groups for r in g]), 4, scale), f64(expected))


def test_the_better_answer_has_the_higher_advantage():
    better, worse = outcome_advantages(f64([1.0, 0.0]), 2)
    assert better > 0 > worse


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rewards_teach_nothing_whatever_their_rounding(dtype):
    rewards = torch.full((7,), 0.1, dtype=dtype) * 3
    assert outcome_advantages(rewards, 7).abs().max() == 0
    assert not groups_with_spread(rewards, 7).any()


def test_an_answer_that_was_not_judged_leaves_the_baseline():
    with_hole = outcome_advantages(f64([1.0, NAN, 0.0, 0.5]), 4)
    torch.testing.assert_close(with_hole[[0, 2, 3]], outcome_advantages(f64([1.0, 0.0, 0.5]), 3))
    assert with_hole[1] == 0


def test_process_advantages_sum_the_steps_to_come_normalised_over_the_group():
    rewards, ends = [[0.1, 0.9], [0.5, NAN]], [[1, 3], [2, 0]]
    flat = [0.1, 0.9, 0.5]
    norm = [(r - statistics.mean(flat)) / (statistics.stdev(flat) + 1e-4) for r in flat]
    out = process_advantages(f64(rewards), torch.tensor(ends), 4, 2)
    a, b, c = norm
    torch.testing.assert_close(out, f64([[a + b, a + b, b, b], [c, c, c, 0]]))


def test_one_step_at_the_end_is_outcome_supervision():
    rewards = f64([1.0, 0.0, 0.0])
    process = process_advantages(rewards[:, None], torch.full((3, 1), 4), 5, 3)
    torch.testing.assert_close(process, outcome_advantages(rewards, 3)[:, None].expand(3, 5))


def test_spread_is_told_by_the_range_and_not_by_the_mean():
    rewards = f64([1, 1, 0, 0, 0.5, 0.5, NAN, 1, NAN, NAN, 0.2, 0.21])
    assert groups_with_spread(rewards, 2, tolerance=0.05).tolist() == [False, False, False, False, False, False]
    assert groups_with_spread(rewards, 4, tolerance=0.05).tolist() == [True, True, False]
    assert groups_with_spread(f64([0.2, 0.21]), 2).tolist() == [True]
