"""What is compared with what, and the words for it."""

import pytest

from deepseek_lab.report.comparison import compare
from deepseek_lab.report.findings import evidence
from deepseek_lab.report.intervals import paired_interval
from deepseek_lab.report.question import Question
from deepseek_lab.report.runs import read_runs
from deepseek_lab.report.sentences import against, on_their_number, sentence


def asked(folder, *metrics, baseline=None):
    question = Question(text=None, baseline=None, metrics=metrics or ("val/bits_per_byte",))
    return evidence(compare(read_runs(folder)[0], baseline), question)


def said(folder, *metrics, baseline=None):
    found = asked(folder, *metrics, baseline=baseline)
    return {finding.variant.label: sentence(found, finding) for finding in found.findings}


def test_runs_are_paired_by_seed(runs):
    for seed, bits in ((1, 2.0), (2, 3.0), (3, 4.0)):
        runs.add("mha", seed, bits)
    for seed, bits in ((3, 3.9), (2, 2.8), (1, 1.9), (4, 9.0)):
        runs.add("mla", seed, bits)
    (finding,) = asked(runs.folder).findings
    assert finding.interval == paired_interval([1.9 - 2.0, 2.8 - 3.0, 3.9 - 4.0])
    assert finding.difference == pytest.approx(-0.4 / 3)
    assert (finding.scale, finding.seeds) == (3.0, 3)


def test_p_is_adjusted_over_all_variants_and_metrics(three_seeds):
    found = asked(three_seeds, "val/bits_per_byte", "val/loss")
    assert found.n_compared == 4
    smallest = min(found.findings, key=lambda finding: finding.interval.p_value)
    assert smallest.p_adjusted == pytest.approx(4 * smallest.interval.p_value)
    assert on_their_number(found).startswith("4 comparisons were made: at 95% each, 0.2 of them")


def test_a_shown_difference_names_its_size_its_interval_and_the_cache(three_seeds):
    assert said(three_seeds)["mla"] == (
        "mla is 4.5% better in bits per byte than mha at equal parameters, 95% interval 4.2% to 4.8% from 3 seeds, "
        "with 31% of the KV cache."
    )


def test_the_sign_turns_with_the_baseline_and_with_what_is_better(runs, three_seeds):
    assert said(three_seeds, baseline="mla")["mha"].startswith("mha is 4.7% worse in bits per byte than mla")
    for seed, share in ((1, 0.50), (2, 0.52), (3, 0.51)):
        metrics = {"val/loss": 1.0, "val/bits_per_byte": 1.0}
        runs.add("mqa", seed, metrics={**metrics, "mtp/acceptance_1": share})
        runs.add("all", seed, metrics={**metrics, "mtp/acceptance_1": share + 0.1})
    words = said(three_seeds, "mtp/acceptance_1", baseline="mqa")
    assert words["all"].startswith("all is 19.6% better in `mtp/acceptance_1` than mqa")
    assert set(words) == {"all"}, "variants without the metric are in no finding"


def test_no_shown_difference_says_what_could_have_been_shown(three_seeds):
    found = asked(three_seeds)
    finding = next(f for f in found.findings if f.variant.label == "gqa")
    words = sentence(found, finding)
    assert words.startswith("gqa: no difference to mha in bits per byte can be shown with 3 seeds (")
    smallest = f"{finding.interval.detectable / finding.scale:.1%}"
    assert words.endswith(f"The smallest that could have been, in 80% of such sweeps, is about {smallest}.")
    assert "better to" in words


def test_a_difference_that_fails_the_adjustment_is_doubted(runs):
    for seed, noise in ((1, 0.0), (2, 0.01), (3, -0.01)):
        runs.add("mha", seed, 2.2)
        for attention in ("gqa", "mqa", "mla"):
            runs.add(attention, seed, 2.17 + noise)
    words = said(runs.folder)["mla"]
    assert "95% interval" in words
    assert words.endswith("Among 3 comparisons that may still be chance (adjusted p 0.11).")


def test_equal_values_are_called_equal(runs):
    for seed in (1, 2):
        runs.add("mha", seed)
        runs.add("mla", seed)
    assert said(runs.folder)["mla"] == "mla and mha do not differ in bits per byte: all 2 seeds are equal."


def test_one_common_seed_and_none_are_told_apart(runs):
    runs.add("mha", 1, 2.2)
    runs.add("mla", 1, 2.1)
    runs.add("gqa", 2, 2.1)
    words = said(runs.folder)
    assert "share one seed, which gives no interval" in words["mla"]
    assert "share no seed" in words["gqa"]
    assert asked(runs.folder).n_compared == 0
    assert on_their_number(asked(runs.folder)) is None


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"total_params": 1_065_000, "active_params": 1_065_000}, "at equal parameters"),
        ({"total_params": 954_000, "active_params": 954_000}, "with 10% fewer parameters"),
        (
            {"total_params": 2_120_000, "active_params": 1_060_000},
            "100% more parameters, of which equally many are active",
        ),
    ],
)
def test_the_sizes_are_in_the_sentence(runs, counts, words):
    runs.add("mha")
    runs.add("mla", counts={**counts, "mtp_params": 0})
    assert words in said(runs.folder)["mla"]


def test_a_share_of_nothing_is_said_in_the_metrics_unit(runs):
    for attention, value in (("mha", 0.0), ("mla", 0.25)):
        runs.add(attention, metrics={"val/loss": 1.0, "val/bits_per_byte": 1.0, "mtp/acceptance_1": value})
    (finding,) = asked(runs.folder, "mtp/acceptance_1").findings
    assert against(finding, finding.difference) == "0.25 share better"
