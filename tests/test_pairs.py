"""A swap always works: every pair of choices composes, is checked and builds on `meta`, all in one process."""

from itertools import combinations, product

import pytest
import torch

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.experiment.checking import check
from deepseek_lab.experiment.configs import read_configs

SHARED = {("model", "base"), ("model", "published")}
GROUPS = ("experiment", "model", "attention", "ffn", "mtp")


@pytest.fixture(scope="module")
def composer():
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        yield composer


def options(composer, group):
    return [name for name in composer.options(group) if (group, name) not in SHARED]


def refusals(composer, settings):
    """What is said against each list of overrides; an empty list when all can run."""
    found = []
    for overrides in settings:
        try:
            cfg = task_config(composer.compose(overrides))
            check(cfg)
            with torch.device("meta"):
                read_configs(cfg).model.build()
        except Exception as error:
            found.append(f"{' '.join(overrides)}: {error}")
    return found


def test_every_pair_of_choices_builds(composer):
    pairs = [
        [f"{first}={a}", f"{second}={b}"]
        for first, second in combinations(GROUPS, 2)
        for a, b in product(options(composer, first), options(composer, second))
    ]
    pairs += [[f"ffn={a}", f"balance={b}"] for a, b in product(options(composer, "ffn"), options(composer, "balance"))]
    assert len(pairs) > 100
    assert refusals(composer, pairs) == []


@pytest.mark.slow
def test_the_full_product_builds(composer):
    named = {group: options(composer, group) for group in (*GROUPS, "balance")}
    every = [[f"{g}={v}" for g, v in zip(named, values, strict=True)] for values in product(*named.values())]
    assert refusals(composer, every) == []
