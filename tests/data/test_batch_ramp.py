"""The ramp against adding up step by step."""

from math import gcd

import pytest

from deepseek_lab.data.batch_ramp import BatchRamp


@pytest.mark.parametrize(("start", "end", "steps"), [(4, 16, 10), (3, 21, 5), (8, 8, 0), (2, 64, 7), (6, 15, 100)])
def test_sums_are_those_of_the_steps_and_each_size_is_whole_units_of_a_straight_line(start, end, steps):
    ramp, unit = BatchRamp(start, end, steps), gcd(start, end)
    sizes = [ramp.size(k) for k in range(2 * steps + 5)]
    assert [ramp.before(k) for k in range(len(sizes))] == [sum(sizes[:k]) for k in range(len(sizes))]
    for k, size in enumerate(sizes):
        line = start + (end - start) * min(k / max(steps, 1), 1) if steps else end
        assert (size - start) % unit == 0
        assert size <= line + 1e-9 < size + unit
    assert set(sizes[steps:]) == {end}


def test_it_starts_at_the_start_and_shrinks_nowhere():
    sizes = [BatchRamp(3072, 15360, 1000).size(k) for k in range(1100)]
    assert sizes[0] == 3072
    assert sizes == sorted(sizes)
    assert sorted(set(sizes)) == [3072, 6144, 9216, 12288, 15360]


def test_a_far_step_costs_no_walk():
    ramp = BatchRamp(1, 1024, 10**9)
    assert ramp.before(10**12) == 1024 * (10**12 - 10**9) + ramp.before(10**9)
