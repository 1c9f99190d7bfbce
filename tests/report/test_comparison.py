"""Variants, their baseline, and which differences count."""

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.report.comparison import compare
from deepseek_lab.report.runs import read_runs


def compared(folder, baseline=None):
    return compare(read_runs(folder)[0], baseline)


def labels(comparison):
    return [variant.label for variant in comparison.variants]


def test_seeds_of_one_variant_stand_together_and_the_first_is_the_baseline(sweep):
    comparison = compared(sweep)
    assert labels(comparison) == ["mha", "mqa", "gqa", "mla"]
    assert comparison.axis == "attention"
    assert comparison.baseline.label == "mha"
    assert [run.seed for run in comparison.baseline.runs] == [1, 2]
    assert comparison.baseline.bits_per_byte == pytest.approx(2.21)


def test_a_difference_counts_only_beyond_the_spread_of_the_baselines_seeds(sweep):
    comparison = compared(sweep)
    assert comparison.baseline.spread == pytest.approx(0.02)
    verdicts = {v.label: comparison.exceeds_spread(v) for v in comparison.variants}
    assert verdicts == {"mha": None, "mqa": True, "gqa": False, "mla": True}
    differences = {v.label: round(comparison.difference(v), 6) for v in comparison.variants}
    assert differences == {"mha": 0.0, "mqa": 0.05, "gqa": 0.005, "mla": -0.03}
    assert "rule of thumb" in comparison.verdict
    assert "0.020" in comparison.verdict


def test_the_spread_of_three_seeds_is_their_range(runs):
    for seed, bits in enumerate((2.20, 2.26, 2.23)):
        runs.add(seed=seed, bits=bits)
    assert compared(runs.folder).baseline.spread == pytest.approx(0.06)


def test_with_one_seed_nothing_is_called_larger_than_chance(runs):
    runs.add("mha", bits=2.2)
    runs.add("mla", bits=1.2)
    comparison = compared(runs.folder)
    assert comparison.exceeds_spread(comparison.variants[1]) is None
    assert "one seed" in comparison.verdict


@pytest.mark.parametrize("name", ["mla", "attention=mla"])
def test_the_baseline_can_be_named(sweep, name):
    comparison = compared(sweep, name)
    assert comparison.baseline.label == "mla"
    assert labels(comparison) == ["mha", "mqa", "gqa", "mla"]
    assert comparison.difference(comparison.variants[0]) == pytest.approx(0.03)


def test_an_unknown_baseline_names_the_nearest_variant(sweep):
    with pytest.raises(ConfigError, match="baseline names no variant: mhaa; did you mean 'mha'"):
        compared(sweep, "mhaa")


def test_what_only_follows_a_choice_is_not_a_second_difference(runs):
    moe = {"ffn": "moe", "balance": "auxiliary_free"}
    for attention in ("mha", "mla"):
        runs.add(attention, overrides=["ffn=dense"])
        runs.add(attention, choices=moe, overrides=["ffn=moe"])
    assert labels(compared(runs.folder)) == [
        "attention=mha ffn=dense",
        "attention=mha ffn=moe",
        "attention=mla ffn=dense",
        "attention=mla ffn=moe",
    ]


def test_a_difference_that_nobody_typed_still_tells_runs_apart(runs):
    runs.add(choices={"precision": "fp32"})
    runs.add(choices={"precision": "bf16"})
    assert labels(compared(runs.folder)) == ["fp32", "bf16"]


def test_a_typed_value_tells_variants_apart(runs):
    runs.add()
    runs.add(overrides=["model.kv_lora_rank=16"])
    comparison = compared(runs.folder)
    assert (comparison.axis, labels(comparison)) == ("model.kv_lora_rank", ["default", "16"])


def test_a_variant_without_rivals_is_named_by_what_was_typed(runs):
    runs.add("mla", overrides=["paths.logs=/x", "model.dim=64"])
    assert labels(compared(runs.folder)) == ["attention=mla model.dim=64"]


def test_the_ablations_name_and_the_folders_are_no_difference(runs):
    runs.add(seed=1, overrides=["sweep=a", "paths.logs=/x"], choices={"ablation": "attention"})
    runs.add(seed=2, overrides=["sweep=b", "resume=auto"])
    comparison = compared(runs.folder)
    assert len(comparison.variants) == 1
    assert "nothing to compare" in comparison.verdict


def test_a_repeated_run_is_no_second_seed(runs):
    runs.add(seed=1, bits=2.0)
    runs.add(seed=1, bits=2.4)
    comparison = compared(runs.folder)
    assert [run.bits_per_byte for run in comparison.baseline.runs] == [2.4]
    assert comparison.baseline.spread is None
    assert "repeat" in comparison.warnings[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"data": {"hash": "x", "content": "y"}}, ["different text"]),
        ({"data": {"hash": "x", "content": "def"}}, ["different tokens"]),
        ({"tokens": 300_000}, ["300,000 to 614,400"]),
        ({"tokens": 612_000}, []),
    ],
)
def test_what_makes_a_comparison_unfair_is_said(runs, changes, words):
    runs.add("mha")
    runs.add("mla", **changes)
    warnings = compared(runs.folder).warnings
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))


def test_speeds_are_compared_of_runs_beside_which_others_were_equally_busy(runs):
    for kind in ("mha", "mla"):
        runs.add(kind, 1, other_cores=1.1, tokens_per_second=5000.0, seconds=100.0)
    runs.add("mha", 2, other_cores=0.1, tokens_per_second=9000.0, seconds=50.0)
    comparison = compare(read_runs(runs.folder)[0])
    alone = next(run for run in comparison.variants[0].runs if run.seed == 2)
    assert comparison.untimed == {alone.folder}
    assert [comparison.timed(run, run.seconds) for run in comparison.variants[0].runs] == [100.0, None]
    assert comparison.warnings == (
        "Times and speeds are of runs beside which others kept about 1 cores busy (1 left out).",
    )


def test_speeds_without_a_common_load_are_said_not_to_compare(runs):
    runs.add("mha", 1, other_cores=0.0)
    runs.add("mla", 1, other_cores=1.2)
    comparison = compare(read_runs(runs.folder)[0])
    assert comparison.speeds_differ_by_load
    assert "did not run beside equally busy programs" in comparison.warnings[0]


@pytest.mark.parametrize("load", [None, 0.2, 1.9])
def test_speeds_under_one_load_are_compared_without_a_word(runs, load):
    runs.add("mha", 1, other_cores=load)
    runs.add("mla", 1, other_cores=load)
    comparison = compare(read_runs(runs.folder)[0])
    assert (comparison.untimed, comparison.warnings) == (frozenset(), ())
