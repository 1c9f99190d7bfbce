"""What is refused before torch is imported: the classes looked at need none, and nearly every choice is among them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from deepseek_lab.config import DataError
from deepseek_lab.experiment.first_look import WITHOUT_TORCH, _look_for_models

CONF = Path(__file__).parents[2] / "conf"


def targets(node):
    if isinstance(node, dict):
        yield from ([node["_target_"]] if "_target_" in node else [])
        node = list(node.values())
    for one in node if isinstance(node, list) else []:
        yield from targets(one)


def chosen(*groups):
    files = [path for group in groups for path in (CONF / group).rglob("*.yaml")]
    return sorted({target for path in files for target in targets(yaml.safe_load(path.read_text()))})


def test_classes_that_are_looked_at_first_bring_no_torch():
    early = [target for target in chosen(".") if target.startswith(WITHOUT_TORCH)]
    assert len(early) > 40
    modules = sorted({".".join(part for part in target.split(".") if part[0].islower()) for target in early})
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


GROUPS = [
    "attention",
    "ffn",
    "balance",
    "mtp",
    "tokenizer",
    "data",
    "optimizer",
    "schedule",
    "task",
    "template",
    "stage",
    "loss",
    "precision",
]


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_of_these_is_looked_at_first(group):
    own = chosen(group)
    assert own
    assert not [target for target in own if not target.startswith(WITHOUT_TORCH)]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("init_from=run_of_nobody", "run_of_nobody: no such run folder or checkpoint"),
        ("init_from=tests", "tests: holds no checkpoint"),
        ("stage=distill stage.teacher=run_of_nobody", "run_of_nobody: no such run folder or checkpoint"),
    ],
)
def test_a_model_that_is_nowhere_is_refused_before_torch_is_imported(tmp_path, typed, said):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('torch was imported')")
    told = subprocess.run(
        [sys.executable, "scripts/train.py", *typed.split()],
        cwd=CONF.parent,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (told.returncode, told.stdout) == (2, "")
    assert said in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_a_run_that_goes_on_may_have_lost_its_start():
    gone = {"init_from": "run_of_nobody", "stage": {"teacher": None}}
    with pytest.raises(DataError, match="no such run folder"):
        _look_for_models(OmegaConf.create({**gone, "resume": None}))
    _look_for_models(OmegaConf.create({**gone, "resume": "logs/a_run"}))
