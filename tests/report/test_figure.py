"""The curves as they are drawn."""

import io
import json

import pytest
from deepseek_lab.report.figure import line, loss_figure
from matplotlib.image import imread

from deepseek_lab.report.comparison import compare
from deepseek_lab.report.runs import read_runs


def test_a_line_is_the_mean_over_seeds_between_the_best_and_the_worst(sweep):
    curve = line(compare(read_runs(sweep)[0]).baseline)
    assert curve.tokens[-1] == 614_400
    assert curve.mean[-1] == pytest.approx(2.21, abs=0.01)
    assert curve.largest[-1] - curve.least[-1] == pytest.approx(0.02)


def test_only_steps_that_all_seeds_share_are_averaged(runs):
    runs.add(seed=1)
    short = runs.add(seed=2)
    rows = (short / "metrics.jsonl").read_text().splitlines(keepends=True)
    (short / "metrics.jsonl").write_text("".join(rows[:4]))
    assert len(line(compare(read_runs(runs.folder)[0]).baseline).tokens) == 4


def test_the_enlarged_half_starts_in_the_middle(runs):
    runs.add()
    half = line(compare(read_runs(runs.folder)[0]).baseline).last_half()
    assert half.tokens[0] == 307_200
    assert len(half.tokens) == len(half.mean) == 7


@pytest.mark.parametrize("points", [0, 1, 2, 13])
def test_any_number_of_validations_gives_a_picture(runs, points):
    folder = runs.add()
    rows = [runs.row(50 * i, 2.2) for i in range(points)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    picture = imread(io.BytesIO(loss_figure(compare(read_runs(runs.folder)[0]), "title")))
    assert picture.shape[0] > 500
    assert picture.std() > 0.01


def test_more_variants_than_colours_are_told_apart(runs):
    for rank in range(9):
        runs.add(overrides=[f"model.kv_lora_rank={rank}"])
    assert len(loss_figure(compare(read_runs(runs.folder)[0]), "title")) > 10_000
