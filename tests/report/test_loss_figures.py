"""The curves as they are drawn."""

import io
import json

import pytest
from matplotlib.image import imread

from deepseek_lab.report.comparison import compare
from deepseek_lab.report.drawing import style
from deepseek_lab.report.findings import evidence
from deepseek_lab.report.loss_figures import AXES, line, loss_figures
from deepseek_lab.report.question import read_question
from deepseek_lab.report.runs import read_runs

TOKENS, FLOPS, SECONDS = (axis.measure for axis in AXES)


def baseline(folder):
    return compare(read_runs(folder)[0]).baseline


def drawn(folder):
    return {
        picture.name: picture for picture in loss_figures(evidence(compare(read_runs(folder)[0]), read_question([])))
    }


def test_a_line_is_the_mean_over_seeds_between_the_best_and_the_worst(sweep):
    curve = line(baseline(sweep), TOKENS)
    assert curve.places[-1] == 614_400
    assert curve.mean[-1] == pytest.approx(2.21, abs=0.01)
    assert curve.largest[-1] - curve.least[-1] == pytest.approx(0.02)


def test_the_same_curve_lies_over_tokens_flops_and_seconds(sweep):
    curves = [line(baseline(sweep), measure) for measure in (TOKENS, FLOPS, SECONDS)]
    assert [curve.places[-1] for curve in curves] == [614_400, 614_400 * 6e6, 50.0]
    assert len({curve.mean for curve in curves}) == 1


def test_only_steps_that_all_seeds_share_are_averaged(runs):
    runs.add(seed=1)
    short = runs.add(seed=2)
    rows = (short / "metrics.jsonl").read_text().splitlines(keepends=True)
    (short / "metrics.jsonl").write_text("".join(rows[:4]))
    assert len(line(baseline(runs.folder), TOKENS).places) == 4


def test_the_enlarged_half_starts_in_the_middle(runs):
    runs.add()
    half = line(baseline(runs.folder), TOKENS).last_half()
    assert half.places[0] == 307_200
    assert len(half.places) == len(half.mean) == 7


def test_what_was_not_recorded_has_no_figure(runs):
    folder = runs.add(counts={"total_params": 1, "active_params": 1, "mtp_params": 0})
    assert set(drawn(runs.folder)) == {"loss", "loss_tokens", "loss_seconds"}
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({k: v for k, v in row.items() if k != "perf/seconds"}) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text)
    assert set(drawn(runs.folder)) == {"loss", "loss_tokens"}


@pytest.mark.parametrize("points", [0, 1, 2])
def test_any_number_of_validations_gives_a_picture(runs, points):
    folder = runs.add()
    rows = [runs.row(50 * i, 2.2) for i in range(points)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    picture = imread(io.BytesIO(drawn(runs.folder)["loss"].png))
    assert picture.shape[0] > 500
    assert picture.std() > 0.01


def test_more_variants_than_colours_are_told_apart(runs):
    for rank in range(9):
        runs.add(overrides=[f"model.kv_lora_rank={rank}"])
    comparison = compare(read_runs(runs.folder)[0])
    assert len({tuple(style(comparison, variant).values()) for variant in comparison.variants}) == 9


def test_the_same_runs_give_the_same_picture(sweep):
    first, second = (loss_figures(evidence(compare(read_runs(sweep)[0]), read_question([]))) for _ in range(2))
    assert next(first) == next(second)


def test_seconds_are_drawn_of_comparable_runs_alone(runs):
    runs.add("mha", 1, other_cores=1.0)
    runs.add("mla", 1, other_cores=1.0)
    runs.add("mha", 2, other_cores=0.0)
    assert "loss_seconds" in drawn(runs.folder)
    other = type(runs)(runs.folder.parent / "other")
    other.add("mha", 1, other_cores=0.0)
    other.add("mla", 1, other_cores=1.0)
    assert "loss_seconds" not in drawn(other.folder)
