"""The two recipes that compare algorithms, run through to their reports in a few steps a stage.

Every step is the script that the recipe names with the overrides it gives, one behind the other in this process: a
process of its own each (test_smoke does that) would be imports for the most part. A network that has learnt nothing
gives no right answers, so the pairs that the steps behind them read are put there beforehand.
"""

import contextlib
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_lab.command_line import register_resolvers
from deepseek_lab.pipeline.planned import PlannedStep, planned
from deepseek_lab.pipeline.recipe import Recipe
from deepseek_lab.pipeline.record import write_record
from deepseek_lab.pipeline.running import known_now
from deepseek_lab.report.road_report import write_road_report

ROOT = Path(__file__).resolve().parents[2]
FEW = ["data.validation_questions=2", "data.questions=100", "rollout.max_new_tokens=16"]
COMMON = ["trainer.max_steps=2", "trainer.validate_every=2", "trainer.checkpoint_every=1", "trainer.n_threads=1"]
COMMON += ["trainer.validation_batches=1", "data.batch_size=2"]
TEXTS = ["data.corpus.n_documents=2000", "data.corpus.n_questions=500"]
TESTED = ["attempts.questions=3", "attempts.samples=2", "attempts.k=[1,2]", "attempts.max_new_tokens=16"]


def shortened(name: str, folder: Path, keep: set[str] | None = None, seeds: int = 1) -> Recipe:
    """A recipe's own steps, or those to `keep`, with few questions, few steps and caches in `folder`."""
    values = yaml.safe_load((ROOT / "conf" / "recipe" / f"{name}.yaml").read_text())
    values.pop("_target_")
    steps = {one: step for one, step in values["steps"].items() if keep is None or one in keep}
    compare = {one: [other for other in others if other in steps] for one, others in values["compare"].items()}
    more = {one: FEW for one, step in steps.items() if "experiment=mini_r1_rl" in step["overrides"]}
    common = [*COMMON, f"paths.cache={folder / 'cache'}"]
    values |= {"common": common, "more": {**more, "base": TEXTS}, "steps": steps, "seeds": values["seeds"][:seeds]}
    values["compare"] = {one: others for one, others in compare.items() if one in steps}
    for test in values["tests"].values():
        test["overrides"] = [*test["overrides"], *TESTED]
    for test, budget in (("equal_tokens", {"at_tokens": 300.0}), ("equal_flops", {"at_flops": 1e9})):
        values["tests"].get(test, {}).update(budget)
    return Recipe.Config(**values).build()


def plant(step: PlannedStep, n: int = 40) -> None:
    """Pairs as rejection sampling writes them."""
    step.folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = [
        {
            "prompt": f"{number} + 1 = ?",
            "chosen": f"<think>{number}+1={number + 1}</think><answer>{number + 1}</answer>",
            "rejected": "<answer>0</answer>",
        }
        for number in range(n)
    ]
    (step.folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (step.folder / "counts.json").write_text(json.dumps({"kept": n, "tokens": 200}))
    (step.folder / "DONE").touch()


def run_here(step: PlannedStep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step's command line, in this process."""
    from hydra.core.global_hydra import GlobalHydra

    command = list(step.job_with(known_now(step)).command[1:])
    monkeypatch.setattr(sys, "argv", command)
    GlobalHydra.instance().clear()
    with contextlib.suppress(SystemExit):
        runpy.run_path(command[0], run_name="__main__")
    GlobalHydra.instance().clear()
    assert step.job.finished, step.key


def walked(recipe: Recipe, root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs all steps; the report as markdown."""
    register_resolvers()
    steps = planned(recipe, root)
    for step in steps:
        if step.script == "rejection_sampling":
            plant(step)
    for step in steps:
        if not step.job.finished:
            run_here(step, monkeypatch)
    write_record(recipe, steps, root)
    write_road_report(root)
    return (root / "report.md").read_text()


@pytest.mark.slow
def test_deepseek_math_runs_to_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = walked(shortened("deepseek_math", tmp_path), tmp_path, monkeypatch)
    assert "`iterative` is" in text
    assert "`process` is" in text
    (judge,) = tmp_path.glob("new_judge-*")
    rows = json.loads((judge / "summary.json").read_text())["data"]["splits"]
    assert sum(split["conversations"] for split in rows.values()) == 2 * (40 + 4), "a tenth of the old pairs came along"
    assert "Not complete" not in text


@pytest.mark.slow
def test_rl_algorithm_runs_to_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {f"{arm}_{rate}" for arm in ("grpo", "ppo", "dpo") for rate in ("low", "mid")}
    recipe = shortened("rl_algorithm", tmp_path, {"base", "start", "pairs", *arms})
    text = walked(recipe, tmp_path, monkeypatch)
    assert "At equal cost" in text
    assert "tokens drawn" in text
    assert "minutes" in text
    for arm in ("grpo", "ppo", "dpo"):
        assert f"The best of `{arm}_low`, `{arm}_mid` by `tuning`" in text
