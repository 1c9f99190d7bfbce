"""What steps cost: training, answers drawn for it, and rejection sampling, which only draws."""

import json
from pathlib import Path
from typing import Any

import pytest

from deepseek_lab.config import DataError
from deepseek_lab.pipeline.costs import flops_of, steps_for_equal_flops
from deepseek_lab.pipeline.planned import PlannedStep
from planned_steps import planned_step


def step_of(folder: Path, needs: tuple[PlannedStep, ...] = (), **values: Any) -> PlannedStep:
    folder.mkdir()
    return planned_step(folder, needs, **values)


def trained(folder: Path, drawn: int = 0, **values: Any) -> PlannedStep:
    step = step_of(folder, **values)
    summary = {"counts": {"flops_per_token": 600.0}, "tokens": 1000, "metrics": {"sampling/tokens": drawn}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return step


def test_a_drawn_token_costs_a_third_of_a_trained_one(tmp_path: Path) -> None:
    assert flops_of(trained(tmp_path / "sft")) == 600_000
    assert flops_of(trained(tmp_path / "rl", drawn=300)) == 600_000 + 60_000


def test_rejection_sampling_costs_what_it_draws(tmp_path: Path) -> None:
    start = trained(tmp_path / "rl")
    kept = step_of(tmp_path / "kept", (start,), script="rejection_sampling", start="rl")
    assert flops_of(kept) == 0  # not done
    (kept.folder / "counts.json").write_text(json.dumps({"kept": 3, "tokens": 900}))
    assert flops_of(kept) == 900 * 200


def test_a_control_gets_the_steps_that_the_others_cost(tmp_path: Path) -> None:
    start = trained(tmp_path / "rl", drawn=300)
    kept = step_of(tmp_path / "kept", (start,), script="rejection_sampling", start="rl")
    (kept.folder / "counts.json").write_text(json.dumps({"tokens": 900}))
    control = step_of(tmp_path / "more", (start, kept), equal_flops=["rl", "kept"])
    assert steps_for_equal_flops(control, tokens_a_step=100, flops_per_token=600) == (660_000 + 180_000) // 60_000
    alone = step_of(tmp_path / "alone", (start, kept), equal_flops=["kept"])
    assert steps_for_equal_flops(alone, tokens_a_step=100, flops_per_token=600) == 3


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    step = step_of(tmp_path / "sft")
    (step.folder / "summary.json").write_text("{")
    with pytest.raises(DataError, match=r"summary\.json"):
        flops_of(step)
