"""Folders and command lines: a change moves a step and all behind it, and nothing else."""

from pathlib import Path

import pytest

from deepseek_lab.command_line import register_resolvers
from deepseek_lab.config import ConfigError
from deepseek_lab.pipeline import planned as planning
from deepseek_lab.pipeline.identity import config_hash
from deepseek_lab.pipeline.planned import planned
from deepseek_lab.pipeline.recipe import Recipe

STEPS = {
    "base": {"overrides": ["model=nano"], "tests": ["held_out"]},
    "zero": {"start": "base", "overrides": ["stage=grpo"], "tests": ["held_out"], "test_overrides": ["template=chat"]},
    "kept": {"script": "rejection_sampling", "start": "zero", "overrides": ["samples=4"]},
    "restart": {"start": "base", "overrides": ["data.corpus.path={steps.kept}/kept.jsonl"], "tests": ["held_out"]},
    "alone": {"overrides": ["model=micro"]},
}


@pytest.fixture(autouse=True)
def _words_for_configs(monkeypatch):
    """What the commands come to is tested below; here the words stand for it."""
    monkeypatch.setattr(planning, "config_hash", lambda script, overrides: f"{script} {overrides}")


def plan(steps=STEPS, root="/r", **values):
    tests = {"held_out": {"overrides": ["what=task"]}}
    common = {
        "name": "toy",
        "title": "t",
        "seeds": [1],
        "common": ["trainer.n_threads=1"],
        "tests": tests,
        "compare": {},
        "steps": steps,
    }
    return {step.key: step for step in planned(Recipe.Config(**{**common, **values}).build(), Path(root))}


def changed(name, **values):
    return {**STEPS, name: {**STEPS[name], **values}}


def test_steps_run_in_order_each_with_its_tests_behind_it():
    assert list(plan()) == [
        *("base", "base.held_out", "zero", "zero.held_out", "kept", "restart", "restart.held_out", "alone"),
    ]


def test_a_command_starts_where_it_should_and_names_the_folders_of_what_it_reads():
    steps = plan(root="/with a space")
    zero, kept, restart = steps["zero"], steps["kept"], steps["restart"]
    assert f"init_from='{steps['base'].folder}'" in zero.job.command
    assert f"checkpoint='{zero.folder}'" in kept.job.command
    assert f"data.corpus.path='{kept.folder}/kept.jsonl'" in restart.job.command
    assert {"trainer.n_threads=1", "seed=1"} <= set(zero.job.command)
    assert not {"trainer.n_threads=1", "seed=1"} & set(kept.job.command)
    assert f"checkpoint='{restart.folder}'" in steps["restart.held_out"].job.command
    assert "template=chat" in steps["zero.held_out"].job.command
    assert "template=chat" not in steps["restart.held_out"].job.command
    assert zero.job.command[-1] == f"hydra.run.dir='{zero.folder}'"
    assert kept.job.command[-1] == f"out='{kept.folder}'"


def test_a_change_moves_what_stands_behind_it_and_nothing_else():
    before, after = plan(), plan(changed("zero", overrides=["stage=ppo"]))
    moved = {key for key in before if before[key].folder != after[key].folder}
    assert moved == {"zero", "zero.held_out", "kept", "restart", "restart.held_out"}


def test_minutes_and_words_move_nothing():
    assert plan() == plan(STEPS)
    before, after = plan(), plan(changed("base", minutes=9.0, what="the base"))
    assert [step.folder for step in before.values()] == [step.folder for step in after.values()]


def test_more_overrides_stand_behind_all_others_and_move_their_step_alone():
    before, after = plan(), plan(more={"restart": ["trainer.max_steps=9"]})
    assert {key for key in before if before[key].folder != after[key].folder} == {"restart", "restart.held_out"}
    words = after["restart"].overrides
    assert words.index("trainer.max_steps=9") > words.index("trainer.n_threads=1")


def test_a_budget_makes_another_measurement_and_no_budget_the_one_it_was():
    tests = {"held_out": {"overrides": ["what=task"], "at_tokens": 9.0}}
    before, after = plan(), plan(tests=tests)
    moved = {key for key in before if before[key].folder != after[key].folder}
    assert moved == {key for key in before if key.endswith(".held_out")}
    assert after["zero.held_out"].budget == ("tokens", 9.0)


def test_a_control_moves_when_other_steps_pay_for_it():
    one = plan({**STEPS, "control": {"start": "base", "equal_flops": ["zero"]}})
    two = plan({**STEPS, "control": {"start": "base", "equal_flops": ["zero", "restart"]}})
    assert one["control"].folder != two["control"].folder


def test_seeds_have_folders_and_names_of_their_own():
    steps = plan(seeds=[1, 2])
    assert {step.folder.parent.name for step in steps.values()} == {"seed1", "seed2"}
    assert "seed=2" in steps["seed2.zero"].job.command
    assert f"init_from='{steps['seed2.base'].folder}'" in steps["seed2.zero"].job.command


def test_a_moved_road_keeps_its_hashes():
    assert [step.folder.name for step in plan().values()] == [step.folder.name for step in plan(root="/else").values()]


def test_a_command_is_what_it_comes_to():
    register_resolvers()
    nano = config_hash("train", ("model=nano", "seed=3"))
    assert nano == config_hash("train", ("seed=3", "model=nano", "optimizer.lr=1.0e-3")), "a default that is typed"
    assert nano != config_hash("train", ("model=nano", "seed=4"))
    assert nano != config_hash("train", ("model=micro", "seed=3"))
    assert config_hash("evaluate", ("checkpoint=x",)) != config_hash("evaluate", ("checkpoint=x", "split=test"))


def test_a_command_that_cannot_be_composed_is_named_with_its_step(monkeypatch):
    register_resolvers()
    monkeypatch.setattr(planning, "config_hash", config_hash)
    for overrides, said in ((["modle=micro"], "step two: modle"), (["model=mirco"], "micro"), (["x"], "key=value")):
        with pytest.raises(ConfigError, match=said):
            plan({"one": {"overrides": ["model=micro"]}, "two": {"overrides": overrides}}, common=[])
