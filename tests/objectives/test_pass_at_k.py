"""pass@k against every subset, and the majority's vote."""

from itertools import combinations
from statistics import fmean

import pytest

from deepseek_lab.objectives.pass_at_k import majority_share, pass_at_k


@pytest.mark.parametrize("n", [1, 4, 7])
def test_it_is_the_share_of_all_choices_of_k_attempts_that_hold_a_right_one(n):
    for correct in range(n + 1):
        attempts = [i < correct for i in range(n)]
        for k in range(1, n + 1):
            every = fmean(float(any(chosen)) for chosen in combinations(attempts, k))
            assert pass_at_k(n, correct, k) == pytest.approx(every, abs=1e-12)


def test_many_attempts_stay_exact():
    assert pass_at_k(20_000, 1, 10_000) == pytest.approx(0.5, abs=1e-12)
    assert pass_at_k(20_000, 0, 1) == 0.0


@pytest.mark.parametrize("arguments", [(4, 1, 0), (4, 1, 5), (4, 5, 1), (4, -1, 1), (0, 0, 1)])
def test_impossible_counts(arguments):
    with pytest.raises(ValueError, match=r"attempts"):
        pass_at_k(*arguments)


@pytest.mark.parametrize(
    ("votes", "right", "share"),
    [
        (["4", "4", "5"], [True, True, False], 1.0),
        (["4", "5", "5"], [True, False, False], 0.0),
        (["4", "5"], [True, False], 0.5),
        (["4", "5", "6", "6", "4", None], [True, False, False, False, True, False], 0.5),
        ([None, None, None, "4"], [False, False, False, True], 1.0),
        ([None, None], [False, False], 0.0),
        ([], [], 0.0),
    ],
)
def test_the_majority_is_right(votes, right, share):
    assert majority_share(votes, right) == share
