"""A test at an equal cost measures the last checkpoint within its budget, with what was drawn for it beforehand."""

import json
from pathlib import Path
from typing import Any

import pytest

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.pipeline.costs import flops_of, passes
from deepseek_lab.pipeline.planned import PlannedStep
from deepseek_lab.pipeline.recipe import Measurement
from deepseek_lab.pipeline.spending import FILE, chosen_checkpoint
from planned_steps import planned_step


def trained(folder: Path, needs: tuple[PlannedStep, ...] = (), drawn: int = 100, **values: Any) -> PlannedStep:
    """Four iterations, each of 50 trained tokens and `drawn` drawn ones, at 6 FLOPs a trained token."""
    (folder / "checkpoints").mkdir(parents=True)
    rows = [
        {"step": n, "train/tokens": 50 * n, **({"sampling/tokens": drawn * n} if drawn else {})} for n in (1, 2, 3, 4)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for number in (2, 3, 4):
        (folder / "checkpoints" / f"step_{number:08d}.ckpt").touch()
    summary = {"counts": {"flops_per_token": 6.0}, "tokens": 200, "metrics": {"sampling/tokens": 4 * drawn}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return planned_step(folder, needs, **values)


def measured(folder: Path, step: PlannedStep, kind: str, most: float) -> tuple[str, dict[str, float]]:
    """The file name of the checkpoint that is measured, and what is noted of it."""
    (override,) = chosen_checkpoint(planned_step(folder, (step,), (kind, most)))
    return Path(override.removeprefix("checkpoint=").strip("'")).name, json.loads((folder / FILE).read_text())


@pytest.mark.parametrize(
    ("kind", "most", "step"),
    [("tokens", 399, 3), ("tokens", 300, 3), ("tokens", 299, 2), ("tokens", 10_000, 4), ("tokens", 1, 2)],
)
def test_the_last_checkpoint_within_the_tokens_is_measured(tmp_path: Path, kind: str, most: float, step: int) -> None:
    name, spent = measured(tmp_path / "test", trained(tmp_path / "rl"), kind, most)
    assert (name, spent["step"], spent["tokens"]) == (f"step_{step:08d}.ckpt", step, 100 * step)


def test_flops_are_those_of_training_and_drawing_up_to_there(tmp_path: Path) -> None:
    name, spent = measured(tmp_path / "test", trained(tmp_path / "rl"), "flops", 6 * (150 + 300 / 3))
    assert (name, spent["flops"]) == ("step_00000003.ckpt", 1500.0)


def test_pairs_that_were_drawn_before_count_and_the_start_does_not(tmp_path: Path) -> None:
    start = trained(tmp_path / "start", drawn=0)
    pairs = planned_step(tmp_path / "pairs", (start,), script="rejection_sampling", start="start")
    pairs.folder.mkdir()
    (pairs.folder / "counts.json").write_text(json.dumps({"tokens": 900}))
    overrides = ["data.corpus.path={steps.pairs}/pairs.jsonl"]
    dpo = trained(tmp_path / "dpo", (start, pairs), drawn=0, start="start", overrides=overrides)
    assert measured(tmp_path / "a", dpo, "tokens", 500) == (
        "step_00000004.ckpt",
        {"step": 4, "tokens": 900, "flops": flops_of(pairs) + 6 * 200},
    ), "all was drawn before the first step: its end"
    assert measured(tmp_path / "b", dpo, "flops", flops_of(pairs) + 6 * 150)[0] == "step_00000003.ckpt"


def test_a_step_that_kept_nothing_is_named(tmp_path: Path) -> None:
    step = trained(tmp_path / "rl")
    for path in (step.folder / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no checkpoint"):
        measured(tmp_path / "test", step, "tokens", 5)


def test_a_test_has_one_budget_above_nothing() -> None:
    assert Measurement(overrides=[], at_flops=1e12).budget == ("flops", 1e12)
    for values in ({"at_tokens": 1.0, "at_flops": 1.0}, {"at_tokens": 0.0}):
        with pytest.raises(ConfigError):
            Measurement(overrides=[], **values)


def test_further_looks_at_a_token_cost_a_forward_pass_each() -> None:
    grpo = {"name": "grpo", "epochs": 1, "minibatches": 1, "kl_weight": 0.0}
    assert passes(grpo) == 1
    assert passes({**grpo, "kl_weight": 0.04}) == pytest.approx(4 / 3), "the reference"
    assert passes({**grpo, "epochs": 2, "minibatches": 2}) == pytest.approx(7 / 3), "the policy before the updates"
    ppo = {**grpo, "name": "ppo", "reference_weight": 0.0}
    assert passes(ppo) == pytest.approx(2 + 2 / 3), "policy and critic train; both look once before"
    assert passes({**ppo, "reference_weight": 0.05}) == pytest.approx(3)
    assert passes({"name": "dpo"}) == pytest.approx(4 / 3)
    assert passes({"name": "sft"}) == passes({}) == 1
