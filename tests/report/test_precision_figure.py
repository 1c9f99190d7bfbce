"""The relative loss error of a precision: its arithmetic, and when it is drawn."""

import json

import numpy as np
import pytest

from deepseek_lab.report.comparison import compare
from deepseek_lab.report.findings import evidence
from deepseek_lab.report.precision_figure import precision_figures, relative_error, smoothed
from deepseek_lab.report.question import DECIDING, Question
from deepseek_lab.report.runs import read_runs


def add(runs, precision, seed, loss, underflow=None, ffn="dense"):
    """A finished run whose training loss is `loss` of its step."""
    overrides = (f"precision={precision}", *([f"ffn={ffn}"] if ffn != "dense" else []))
    folder = runs.add("mha", seed, choices={"precision": precision, "ffn": ffn}, overrides=overrides)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row["train/loss_next_token"] = loss(row["step"])
        if underflow is not None:
            row["fp8/gradient/underflow_share"] = row["fp8/activation/underflow_share"] = underflow
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def pictures(runs):
    finished, _ = read_runs(runs.folder)
    return list(precision_figures(evidence(compare(finished), Question(text=None, baseline=None, metrics=DECIDING))))


def test_smoothing_is_an_unbiased_exponential_mean():
    values = np.array([3.0, 1.0, 2.0])
    weights = np.array([0.9**2, 0.9, 1.0])
    assert smoothed(values)[0] == pytest.approx(3.0)
    assert smoothed(values)[2] == pytest.approx((weights * values).sum() / weights.sum())


def test_the_error_is_relative_signed_and_of_the_steps_that_both_have():
    errors = relative_error({1: 2.02, 2: 2.02, 9: 5.0}, {1: 2.0, 2: 2.0, 3: 1.0})
    assert errors == pytest.approx({1: 1.0, 2: 1.0})
    assert relative_error({1: 1.98}, {1: 2.0})[1] == pytest.approx(-1.0)


def test_seeds_are_paired_and_the_caption_says_the_mean(runs):
    """Seed 1 lies 2% above its own bf16 run, seed 2 lies 1% below: a mean of half a per cent."""
    for seed, level, factor in ((1, 2.0, 1.02), (2, 3.0, 0.99)):
        add(runs, "bf16", seed, lambda step, level=level: level)
        add(runs, "fp8", seed, lambda step, level=level, factor=factor: level * factor, underflow=0.001)
    (picture,) = pictures(runs)
    assert picture.name == "relative_loss_error"
    assert "fp8 0.50%" in picture.caption


def test_each_ffn_is_compared_with_its_own_bf16(runs):
    for ffn, level in (("dense", 2.0), ("moe", 4.0)):
        add(runs, "bf16", 1, lambda step, level=level: level, ffn=ffn)
        add(runs, "fp8", 1, lambda step, level=level: level * 1.01, ffn=ffn)
    made = pictures(runs)
    assert len({picture.name for picture in made}) == 2
    assert all("fp8 1.00%" in picture.caption for picture in made)


def test_without_a_bf16_or_without_a_rival_nothing_is_drawn(runs):
    add(runs, "bf16", 1, lambda step: 2.0)
    assert pictures(runs) == []
    for path in runs.folder.iterdir():
        (path / "DONE").unlink()
    add(runs, "fp32", 1, lambda step: 2.0)
    add(runs, "fp8", 1, lambda step: 2.0)
    assert pictures(runs) == []
