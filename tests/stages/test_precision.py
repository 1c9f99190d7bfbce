"""A run in FP8: killed and resumed to the bit, and its weights serve every other recipe."""

import shutil
from pathlib import Path

import pytest
import torch

from deepseek_lab.callbacks.quantisation import Quantisation
from deepseek_lab.checkpoint.located import checkpoint_name
from deepseek_lab.checkpoint.native import read_checkpoint
from deepseek_lab.optim.adamw import AdamW
from deepseek_lab.precision.observation import quantised_modules
from deepseek_lab.precision.recipe import FullPrecision
from precision_recipes import bf16, fp8
from tiny_run import rows, tiny_stage, tiny_trainer

SETTINGS = {"lr": 3e-3, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1, "max_grad_norm": 1.0, "fused": True}
RECIPES = {"fp32": FullPrecision(name="fp32"), "bf16": bf16(), "fp8": fp8(), "narrow": fp8(master_weights="bf16")}


def run(folder, recipe, resume=None):
    folder.mkdir(exist_ok=True)
    adamw = AdamW.Config(**SETTINGS, moments="bf16" if recipe == "narrow" else "fp32")
    stage = tiny_stage(precision=RECIPES[recipe], optimizer=adamw)
    step = int(resume.stem[5:]) if resume else None
    tiny_trainer(folder, 20, step, every=10, callbacks=[Quantisation(5)]).fit(stage, ckpt_path=resume)
    return stage


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precision")
    for recipe in RECIPES:
        run(folder / recipe, recipe)
    return folder


@pytest.mark.parametrize("recipe", ["fp8", "narrow"])
def test_resumed_is_the_run_never_killed(whole, tmp_path, recipe):
    folder = tmp_path / "resumed"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / recipe / "metrics.jsonl", folder)
    resume = Path(shutil.copy(whole / recipe / "checkpoints" / checkpoint_name(10), folder / "checkpoints"))
    run(folder, recipe, resume=resume)
    assert rows(folder) == rows(whole / recipe)
    ours, theirs = (read_checkpoint(place / "checkpoints" / checkpoint_name(20)) for place in (folder, whole / recipe))
    for name, weight in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], weight)


@pytest.mark.parametrize("start", ["fp32", "bf16", "fp8", "narrow"])
@pytest.mark.parametrize("recipe", ["fp32", "bf16", "fp8"])
def test_every_recipe_goes_on_with_every_other(whole, tmp_path, start, recipe):
    folder = tmp_path / "on"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / start / "metrics.jsonl", folder)
    resume = Path(shutil.copy(whole / start / "checkpoints" / checkpoint_name(10), folder / "checkpoints"))
    stage = run(folder, recipe, resume=resume)
    assert bool(quantised_modules(stage.model)) == (recipe != "fp32")
    theirs = [row["train/loss"] for row in rows(whole / recipe) if row["step"] == 12]
    assert [row["train/loss"] for row in rows(folder) if row["step"] == 12] == pytest.approx(theirs, rel=0.05)


def test_the_recipes_differ(whole):
    losses = {recipe: rows(whole / recipe)[-1]["val/loss"] for recipe in RECIPES}
    assert len(set(losses.values())) == len(RECIPES)
    assert max(losses.values()) < 1.05 * min(losses.values())


def test_curves_say_what_was_quantised(whole):
    seen = [row for row in rows(whole / "fp8") if "fp8/weight/amax" in row]
    assert [row["step"] for row in seen] == [1, 5, 10, 15, 20]
    for row in seen:
        assert 0.01 < row["fp8/relative_error"] < 0.1
        assert row["fp8/activation/amax"] > row["fp8/weight/amax"] > row["fp8/gradient/amax"] > 0
        assert all(0 <= row[f"fp8/{kind}/underflow_share"] < 0.2 for kind in ("activation", "weight", "gradient"))
    assert not any(name.startswith("fp8/") for row in rows(whole / "bf16") for name in row)


def test_a_nan_in_an_operand_is_named(tmp_path):
    stage = tiny_stage(precision=RECIPES["fp8"])
    trainer = tiny_trainer(tmp_path, 3)
    with torch.no_grad():
        stage.model.blocks[1].attention_norm.weight[0] = float("inf")
    with pytest.raises(RuntimeError, match=r"step 1: .*not finite.*quantised.*blocks\.1\.attention\.wq"):
        trainer.fit(stage)
