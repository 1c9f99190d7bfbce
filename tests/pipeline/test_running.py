"""Steps run in order, each in a process; what is finished is not run again, what failed goes on, a change runs anew.

The scripts are toys that write what they were asked; the real ones run in test_smoke.
"""

import json
import textwrap
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from deepseek_lab.command_line import register_resolvers
from deepseek_lab.config import ConfigError
from deepseek_lab.pipeline import checking, planned, running
from deepseek_lab.report import road_report
from deepseek_lab.sweep.job_process import LOG

TOY = """
    import json, pathlib, sys
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    folder = pathlib.Path(words["hydra.run.dir"].strip("'"))
    with (folder.parent / "order").open("a") as file:
        file.write(folder.name.rpartition("-")[0] + " ")
    start = words.get("init_from", "").strip("'")
    assert not start or (pathlib.Path(start) / "DONE").exists(), "what it starts from is there"
    if (folder.parent / "broken").exists() and words["name"] == "b":
        sys.exit("this machine is broken")
    counts = {"flops_per_token": 10.0}
    summary = {"counts": counts, "tokens": int(words["tokens"]), "metrics": {"sampling/tokens": 30.0}}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "DONE").touch()
"""
STEPS = {
    "a": {"overrides": ["name=a", "tokens=100"]},
    "b": {"start": "a", "overrides": ["name=b", "tokens=200"]},
    "c": {"start": "b", "overrides": ["name=c", "tokens=300"]},
}


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """Runs a recipe of toys; returns the steps that ran."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "train.py").write_text(textwrap.dedent(TOY))
    monkeypatch.setattr(planned, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(planned, "config_hash", lambda script, overrides: f"{script} {overrides}")
    root = tmp_path / "road"
    order = root / "order"

    def run(steps=STEPS, until=None):
        node = {"name": "toy", "title": "toys", "seeds": [1], "common": [], "tests": {}, "compare": {}, "steps": steps}
        recipe = {"_target_": "deepseek_lab.pipeline.recipe.Recipe.Config", **node}
        root.mkdir(exist_ok=True)
        order.unlink(missing_ok=True)
        running.run(OmegaConf.create({"folder": str(root), "until": until, "n_threads": 1, "recipe": recipe}))
        return order.read_text().split() if order.exists() else []

    run.root = root
    return run


def folder_of(pipeline, name):
    return next(Path(pipeline.root).glob(f"{name}-*"))


def test_steps_run_in_order_once_and_the_same_command_again_runs_none(pipeline):
    assert pipeline() == ["a", "b", "c"]
    assert pipeline() == []


def test_a_failed_step_stops_the_road_and_the_same_command_goes_on_with_it(pipeline, capsys):
    pipeline.root.mkdir()
    (pipeline.root / "broken").touch()
    with pytest.raises(running.StepError, match="step b failed"):
        pipeline()
    assert "this machine is broken" in capsys.readouterr().err
    (pipeline.root / "broken").unlink()
    assert pipeline() == ["b", "c"]
    assert folder_of(pipeline, "b").joinpath(LOG).read_text().count("---") == 2


def test_a_changed_step_runs_anew_with_all_behind_it_and_back_again_runs_nothing(pipeline):
    pipeline()
    changed = {**STEPS, "b": {**STEPS["b"], "overrides": ["name=b", "tokens=201"]}}
    assert pipeline(changed) == ["b", "c"]
    assert pipeline() == []


def test_a_road_can_be_walked_in_part(pipeline):
    assert pipeline(until="b") == ["a", "b"]
    assert pipeline() == ["c"]


def test_the_record_says_what_each_step_took_and_cost(pipeline):
    pipeline()
    rows = {row["name"]: row for row in json.loads((pipeline.root / "road.json").read_text())["steps"]}
    assert [row["done"] for row in rows.values()] == [True] * 3
    assert [row["flops"] for row in rows.values()] == [1100.0, 2100.0, 3100.0], "drawn tokens cost a third"
    assert all(0 < row["seconds"] < 60 and row["attempts"] == 1 for row in rows.values())
    assert rows["b"]["start"] == "a"
    assert (pipeline.root / "report.html").exists()
    assert road_report.read_road(pipeline.root).names == ["a", "b", "c"]


def test_two_pipelines_never_share_a_folder(pipeline, monkeypatch):
    def taken(folder):
        raise ConfigError(f"{folder} is being written by another process")

    monkeypatch.setattr(running, "written", taken)
    with pytest.raises(ConfigError, match="another process"):
        pipeline()


def test_what_no_pipeline_has_is_refused(tmp_path):
    def check(**values):
        node = {"name": "toy", "title": "t", "seeds": [1], "common": [], "tests": {}, "compare": {}}
        steps = {"one": {"overrides": ["model=nano"]}}
        recipe = {"_target_": "deepseek_lab.pipeline.recipe.Recipe.Config", **node, "steps": steps}
        knobs = {"folder": str(tmp_path), "until": None, "n_threads": None}
        checking.check(OmegaConf.create({**knobs, "recipe": recipe, **values}))

    register_resolvers()
    check()
    with pytest.raises(ConfigError, match="until"):
        check(until="three")
