"""Student's t against its closed forms, and against what it promises: simulated coverage, power, error rates."""

import math

import numpy as np
import pytest

from deepseek_lab.report.intervals import holm, paired_interval, quantile


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99])
def test_the_quantile_has_its_closed_forms(confidence):
    p = (1 + confidence) / 2
    one, two = math.tan(math.pi * (p - 0.5)), (2 * p - 1) / math.sqrt(2 * p * (1 - p))
    a = math.cos(math.acos(math.sqrt(4 * p * (1 - p))) / 3) / math.sqrt(4 * p * (1 - p))
    assert quantile(confidence, 1) == pytest.approx(one)
    assert quantile(confidence, 2) == pytest.approx(two)
    assert quantile(confidence, 4) == pytest.approx(2 * math.sqrt(a - 1))


def test_an_interval_worked_out_by_hand():
    interval = paired_interval([0.1, 0.2, 0.3])
    half_width = 4.302652729911275 * 0.1 / math.sqrt(3)
    assert interval.half_width == pytest.approx(half_width)
    assert (interval.low, interval.high) == (pytest.approx(0.2 - half_width), pytest.approx(0.2 + half_width))
    assert not interval.excludes_zero
    t = 0.2 / (0.1 / math.sqrt(3))
    assert interval.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t))  # the closed form for two degrees


def test_a_difference_is_shown_exactly_when_p_is_under_the_level():
    for shift in np.linspace(0, 1, 41):
        interval = paired_interval([shift - 0.1, shift, shift + 0.11])
        assert interval.excludes_zero == (interval.p_value < 0.05)


def test_one_difference_has_no_interval_and_equal_ones_leave_no_doubt():
    with pytest.raises(ValueError, match="two differences at least, not 1"):
        paired_interval([0.5])
    assert paired_interval([0.5, 0.5]).p_value == 0.0
    assert paired_interval([0.0, 0.0]).p_value == 1.0
    assert not paired_interval([0.0, 0.0]).excludes_zero


@pytest.mark.parametrize("n", [2, 3, 5])
def test_ninety_five_of_a_hundred_intervals_hold_the_truth(n):
    draws = np.random.default_rng(n).normal(0.3, 2.0, (4000, n))
    held = [interval.low <= 0.3 <= interval.high for interval in map(paired_interval, draws.tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=0.011)  # three standard errors


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_detectable_difference_is_shown_four_times_in_five(n):
    generator = np.random.default_rng(n)
    spread = paired_interval((np.arange(n) - (n - 1) / 2).tolist())
    sigma = np.arange(n).std(ddof=1)
    draws = generator.normal(spread.detectable, sigma, (4000, n))
    shown = [interval.excludes_zero for interval in map(paired_interval, draws.tolist())]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.02)


def test_holm_worked_out_by_hand():
    assert holm([]) == []
    assert holm([0.04]) == [0.04]
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_holm_calls_one_false_difference_in_twenty_sweeps():
    draws = np.random.default_rng(0).normal(0, 1, (1500, 6, 4))
    wrong = [min(holm([paired_interval(d).p_value for d in sweep])) < 0.05 for sweep in draws.tolist()]
    plain = [min(paired_interval(d).p_value for d in sweep) < 0.05 for sweep in draws.tolist()]
    assert np.mean(wrong) < 0.07 < 0.2 < np.mean(plain)
