"""Two intervals, every seed, both tests of the test split; the best rate by questions of another split; equal costs."""

from statistics import fmean, stdev

import pytest

from deepseek_lab.report.road import read_road
from deepseek_lab.report.road_arms import arms, choices, compared_pairs
from deepseek_lab.report.road_budgets import budgets
from deepseek_lab.report.road_comparison import compared, joined_tests
from deepseek_lab.report.road_findings import findings, said
from deepseek_lab.report.road_report import write_road_report
from deepseek_lab.report.road_spending import apart, falls, ratios
from toy_road import road

SPLITS = {"held_out": "test", "sums": "test", "tuning": "validation"}
ARM = {"base": 2, "more_low": {"held_out": 9, "sums": 9, "tuning": 4}, "more_mid": {**SPLITS}, "rl": 15}
ARM["more_mid"] = {"held_out": 6, "sums": 6, "tuning": 8}
COMPARE = {"rl": ["base", "more_low", "more_mid"]}


def with_arm(folder, **values):
    return read_road(road(folder, ARM, tests=SPLITS, compare=COMPARE, **values))


def test_both_intervals_and_every_seed_are_told(tmp_path):
    found = compared(
        read_road(road(tmp_path, {"base": [2, 2, 2], "rl": [14, 12, 13]}, seeds=(1, 2, 3))), ["held_out"], "rl", "base"
    )
    means = [0.75 * gain / 20 for gain in (12, 10, 11)]
    assert found.first.means == pytest.approx(means)
    half = 4.302653 * stdev(means) / 3**0.5
    assert found.first.over_seeds == pytest.approx((fmean(means) - half, fmean(means) + half))
    low, high = found.first.over_questions
    error = stdev([0.0] * 2 + [0.75] * 10 + [0.5, 0.25] + [0.0] * 6) / 20**0.5
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1), "of 20 questions, not of 60"
    text = said(found)
    assert "by paired bootstrap over questions" in text
    assert "by t over 3 seeds" in text
    assert "seed by seed +45.0, +37.5, +41.2: every seed is positive" in text
    assert "pass@4 changes by +0.0" in text
    assert text.endswith("not below +0.0.")


def test_a_rise_needs_both_intervals(tmp_path):
    found = compared(
        read_road(road(tmp_path, {"base": [2, 2], "rl": [20, 12]}, seeds=(1, 2))), ["held_out"], "rl", "base"
    )
    assert found.first.over_questions[0] > 0 > found.first.over_seeds[0]
    assert found.verdict == "not told apart from"


def test_tests_of_the_test_split_are_one_of_more_questions(tmp_path):
    found = with_arm(tmp_path)
    assert joined_tests(found, "rl", "more_low") == ["held_out", "sums"], "tuning served tuning"
    both = compared(found, ["held_out", "sums"], "rl", "more_low")
    assert (both.n_questions, len(both.first.of_seed[0])) == (40, 40)
    assert "at held_out and sums (40 questions)" in " ".join(findings(found, "held_out"))
    write_road_report(tmp_path)
    assert "Results: held_out and sums together" in (tmp_path / "report.md").read_text()


def test_the_best_rate_by_tuning_is_compared_and_no_other(tmp_path):
    found = with_arm(tmp_path)
    assert [arm.chosen for arm in arms(found)] == ["more_mid"], "though more_low solves more of held_out"
    assert list(compared_pairs(found)) == [("rl", "base"), ("rl", "more_mid")]
    assert "The best of `more_low`, `more_mid` by `tuning` is `more_mid` (40.0%, 55.0% of pass@1, seed 1)." in list(
        choices(found)
    )


def test_a_seed_in_which_every_rate_was_measured_chooses_for_all(tmp_path):
    found = with_arm(tmp_path, seeds=(1, 2), steps={"more_mid": {"only_seeds": [1]}})
    (arm,) = arms(found)
    assert (arm.chosen, arm.seeds) == ("more_mid", (1,))
    assert arm.scores == pytest.approx({"more_low": 0.4, "more_mid": 0.55})


def test_no_rate_is_chosen_before_all_are_measured(tmp_path):
    found = with_arm(tmp_path, steps={"more_mid": {"only": ["held_out"]}})
    assert arms(found)[0].chosen is None
    assert len(list(compared_pairs(found))) == 3
    assert "No rate of `more` is chosen yet" in next(choices(found))


def test_costs_count_from_where_two_ways_part(tmp_path):
    steps = {
        "base": {"knobs": {"flops": 100.0, "reads": []}},
        "pairs": {"knobs": {"flops": 20.0, "reads": ["base"]}},
        "rl": {"knobs": {"flops": 30.0, "reads": ["base", "pairs"]}},
        "more": {"knobs": {"flops": 60.0, "reads": ["base"], "control": True}},
    }
    scores = {"base": 2, "pairs": 2, "rl": 9, "more": 4}
    found = read_road(road(tmp_path, scores, steps=steps, compare={"rl": ["more"]}))
    assert (apart(found, "rl", "more"), apart(found, "more", "rl")) == (50.0, 60.0)
    assert "`more` cost 6.00e+01 FLOPs and `rl` 5.00e+01: 1.20 times as many" in next(ratios(found))
    old = read_road(road(tmp_path / "old", scores, steps={"more": {"knobs": {"control": True}}}))
    assert not list(ratios(old)), "an older record does not say what steps were made from"


def test_how_much_a_base_still_fell_counts_all_of_its_training(tmp_path):
    def curve(*losses):
        return [{"step": 100 * n, "val/loss": loss, "val/bits_per_byte": 1.0} for n, loss in enumerate(losses, start=1)]

    steps = {
        "pretrained": {"curves": curve(4.0, 2.0, 1.5), "knobs": {"start": None}},
        "base": {"curves": curve(1.25, 1.0), "knobs": {"start": "pretrained"}},
        "more": {"curves": curve(0.5, 0.4), "knobs": {"start": "base", "control": True}},
    }
    found = read_road(road(tmp_path, {"pretrained": 2, "base": 2, "more": 2}, steps=steps))
    assert list(falls(found)) == ["The validation loss of `base` fell by 20.00% over the last fifth of its training."]


def test_arms_stand_at_equal_cost_with_their_time_beside(tmp_path):
    tests = {"tuning": "validation", "held_out": "test", "tokens": "test", "flops": "test"}
    spent = {"tokens": {"tokens": 950.0, "flops": 1.0}, "flops": {"tokens": 1.0, "flops": 50.0}}
    own = {"start": "base", "reads": ["base"], "tokens_drawn": 2000.0}
    arm = {"knobs": own, "spent": spent}
    steps = {"base": {"knobs": {"reads": []}, "only": ["held_out"]}, "x_low": arm, "x_mid": arm}
    scores = {"base": 2, "x_low": 4, "x_mid": {"tuning": 9, "held_out": 12, "tokens": 8, "flops": 4}}
    limits = {"tokens": ["tokens", 1000.0], "flops": ["flops", 100.0]}
    compare = {"x_low": ["base"], "x_mid": ["base"]}
    folder = road(tmp_path, scores, tests=tests, steps=steps, compare=compare, budgets=limits)
    cells = budgets(read_road(folder), "held_out")
    assert cells.heads[2:4] == ("pass@1 % at 1e+03 tokens drawn", "pass@1 % at 1e+02 FLOPs")
    assert cells.heads[-1] == "minutes"
    start, row = cells.rows
    assert start[1:4] == ("base", "–", "–")
    assert start[4].startswith("32.5 (")
    assert row[:2] == ("x", "x_mid")
    assert [cell.split(" ")[0] for cell in row[2:5]] == ["55.0", "40.0", "70.0"]
    assert row[3].endswith("at 50"), "half of the budget is not the budget"
    assert row[5:] == ("2.00e+03", "3.00e+12", "1.0")
    write_road_report(folder)
    text = (folder / "report.md").read_text()
    assert "At equal cost" in text
    assert "Results: tokens" not in text
