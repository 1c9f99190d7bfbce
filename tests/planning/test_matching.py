"""The width nearest to a target: found wherever it lies, by few networks, and refused where none is near enough."""

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.planning.counts import count
from deepseek_lab.planning.matching import UNMATCHED, Match, Solution, size, solve
from tests.model import tiny


class Sizes:
    """A size as a function of the width, which counts how often it is asked."""

    def __init__(self, function, refuses=lambda width: False):
        self.function, self.refuses, self.asked = function, refuses, 0

    def __call__(self, width):
        self.asked += 1
        if self.refuses(width):
            raise ConfigError("cannot be built")
        return self.function(width)


@pytest.mark.parametrize("target", [1_310.0, 50_010.0, 1_000_010.0])
@pytest.mark.parametrize("function", [lambda w: 100 + 40.0 * w, lambda w: 7 * w + 3.0 * w**2])
def test_no_other_width_is_nearer(function, target):
    sizes = Sizes(function)
    solution = solve(sizes, 16, target, tolerance=0.1)
    best = min(range(1, 40_000), key=lambda width: abs(function(width) - target))
    assert solution == Solution(best, function(best), target)
    assert sizes.asked < 30


def test_the_width_that_it_has_is_found_again():
    assert solve(lambda w: 5 + 3.0 * w, 50, 155.0, multiple=4).width in (48, 50, 52)
    assert solve(lambda w: 5 + 3.0 * w, 50, 155.0, multiple=4, tolerance=0.001).width == 50


def test_a_multiple_is_taken_only_where_it_lies_within_the_tolerance():
    assert solve(lambda w: 10.0 * w, 64, 1_010.0, multiple=8, tolerance=0.03).width == 104
    assert solve(lambda w: 10.0 * w, 64, 1_010.0, multiple=8, tolerance=0.01).width == 101


def test_a_coarse_size_is_refused_with_the_nearest_width_and_what_it_misses():
    with pytest.raises(ConfigError, match=r"= 3 comes nearest, and is -13.46% off the target 1,040"):
        solve(lambda w: 300.0 * w, 1, 1_040.0, tolerance=0.01)
    assert solve(lambda w: 300.0 * w, 1, 1_040.0, tolerance=0.2).width == 3


def test_a_target_below_the_smallest_network_is_refused():
    with pytest.raises(ConfigError, match="= 1 comes nearest"):
        solve(lambda w: 1_000.0 + w, 16, 500.0)


def test_widths_that_cannot_be_built_are_passed_over():
    odd_refused = Sizes(lambda w: 10.0 * w, refuses=lambda width: width % 2 == 1)
    assert solve(odd_refused, 2, 1_010.0, multiple=2, tolerance=0.02).width in (100, 102)
    divisors = Sizes(lambda w: 10.0 * w, refuses=lambda width: 8 % width > 0)
    assert solve(divisors, 8, 40.0).width == 4
    with pytest.raises(ConfigError, match="no whole number beside it can be built"):
        solve(divisors, 8, 60.0)


def test_a_width_that_changes_nothing_is_said_so():
    with pytest.raises(ConfigError, match="changes nothing"):
        solve(lambda w: 7.0, 8, 60.0)


def test_sizes_are_those_of_the_parameters():
    """Embedding and head do not count, tied or not, and neither do MTP modules, except in FLOPs."""
    for tied in (False, True):
        model = tiny.build("mha", "moe", 1, tie_embeddings=tied)
        inside = sum(p.numel() for block in model.blocks for p in block.parameters()) + model.final_norm.weight.numel()
        counts = count(model, 16)
        assert size("params", counts, model.config) == inside
        idle = counts.total_params - counts.active_params
        assert size("active_params", counts, model.config) == inside - idle
        assert size("flops", counts, model.config) == counts.flops_per_token
        assert size("kv_cache", counts, model.config) == counts.kv_cache_elements_per_token


def test_a_rule_without_a_width_or_with_an_odd_tolerance_is_refused():
    own = {**vars(UNMATCHED), "rule": "params", "widths": ["intermediate_size"]}
    for field, value in {"widths": [], "tolerance": 1.0, "multiple": 0, "rule": "size", "target": 0}.items():
        with pytest.raises(ConfigError) as error:
            Match.Config(**{**own, field: value})
        assert error.value.field == field
    assert Solution(1, 3.0, 4.0).residual == -0.25
