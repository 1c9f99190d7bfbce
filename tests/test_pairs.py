"""A swap always works: every pair of choices composes, is checked and builds on `meta`, all in one process.

Pairs share compositions: one of `experiment=a attention=b ffn=c mtp=d balance=e` holds ten of them. A size that an
experiment of the same name chooses is tried through it.
"""

from itertools import combinations, product

import pytest
import torch
import yaml

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.experiment.checking import check
from deepseek_lab.experiment.configs import read_model

CONF = PROJECT_ROOT / "conf"
SHARED = {"base", "published"}
"""Sheets that others build on and that are no choice themselves."""
PARTS = ("attention", "ffn", "mtp", "balance")


@pytest.fixture(scope="module")
def composer():
    register_resolvers()
    with Composer(CONF, "train") as composer:
        yield composer


def options(composer, group):
    return [f"{group}={name}" for name in composer.options(group) if name not in SHARED]


def stage_of(experiment):
    """The stage that an experiment's file, or else the one that it builds on, overrides; read, not composed."""
    stage = "pretrain"
    for entry in yaml.safe_load((CONF / "experiment" / f"{experiment}.yaml").read_text()).get("defaults", ()):
        stage = stage_of(entry) if isinstance(entry, str) else entry.get("override /stage", stage)
    return stage


def subjects(composer):
    """Every experiment that starts from nothing, and every size that no experiment is named after."""
    experiments = composer.options("experiment")
    return [
        *(f"experiment={name}" for name in experiments if stage_of(name) == "pretrain"),
        *(f"model={m}" for m in composer.options("model") if m not in {*SHARED, *experiments}),
    ]


def covering(groups, apart=()):
    """Rows of one option a group that together hold every pair of options of two groups; few, by greedy choice.

    apart: pairs of groups, by index, whose pairs need not be held.
    """
    together = [pair for pair in combinations(range(len(groups)), 2) if pair not in apart]
    open_pairs = {frozenset(pair) for a, b in together for pair in product(groups[a], groups[b])}
    while open_pairs:
        row = sorted(min(open_pairs, key=sorted))
        for group in groups:
            if not set(group) & set(row):
                row.append(max(group, key=lambda option: len(pairs_of([*row, option]) & open_pairs)))
        open_pairs -= pairs_of(row)
        yield row


def pairs_of(row):
    return {frozenset(pair) for pair in combinations(row, 2)}


def refusals(composer, settings):
    """What is said against each list of overrides; an empty list when all can run. Equal networks are built once."""
    found, built = [], set()
    for overrides in settings:
        try:
            cfg = task_config(composer.compose(overrides))
            check(cfg)
            model = read_model(cfg)
            if model not in built:
                with torch.device("meta"):
                    model.build()
                built.add(model)
        except Exception as error:
            found.append(f"{' '.join(overrides)}: {error}")
    return found


def test_every_pair_of_choices_builds(composer):
    groups = [subjects(composer), *(options(composer, part) for part in PARTS)]
    settings = list(covering(groups, apart={(0, 4), (1, 4), (3, 4)}))  # balance meets the FFN alone
    assert len(settings) >= len(groups[0]) * len(groups[1])
    assert {f"{e} {a}" for e in groups[0] for a in groups[1]} <= {
        f"{e} {a}" for row in settings for e in row for a in row
    }
    assert refusals(composer, settings) == []


@pytest.mark.slow
def test_the_full_product_builds(composer):
    groups = [subjects(composer), *(options(composer, part) for part in ("attention", "ffn", "mtp"))]
    assert refusals(composer, map(list, product(*groups))) == []


@pytest.mark.slow
def test_any_experiment_runs_at_any_size(composer):
    """Where the size has room for the experiment's sequences, which is the one thing that may be missing."""
    room = ["model.max_seq_len=163840"]
    experiments = [subject for subject in subjects(composer) if subject.startswith("experiment=")]
    settings = product(experiments, options(composer, "model"), room)
    assert refusals(composer, map(list, settings)) == []
