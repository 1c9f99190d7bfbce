"""Intervals of shares: known values, and that they hold the truth as often as they say."""

import random
from statistics import fmean

import pytest
from scipy.stats import binomtest

from deepseek_lab.report.proportions import bootstrap, wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (250, 1000), (1, 1)])
def test_wilson_is_that_of_scipy(successes, n):
    theirs = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_no_share(successes, n):
    with pytest.raises(ValueError, match="no share"):
        wilson(successes, n)


def test_the_bootstrap_holds_the_truth_about_as_often_as_it_says():
    source = random.Random(3)
    truth = fmean([0.0, 0.25, 0.25, 1.0])
    held = 0
    for repeat in range(300):
        values = [source.choice([0.0, 0.25, 0.25, 1.0]) for _ in range(60)]
        low, high = bootstrap(values, resamples=400, seed=repeat)
        held += low <= truth <= high
    assert 0.90 <= held / 300 <= 0.98


def test_the_bootstrap_is_the_same_again_and_never_without_width():
    values = [0.0, 0.5, 1.0, 1.0]
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values) != bootstrap(values, confidence=0.5)
    assert bootstrap([0.0] * 20) == wilson(0, 20)
    with pytest.raises(ValueError, match="no values"):
        bootstrap([])
