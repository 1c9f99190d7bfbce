"""scripts/tune.py against a stand-in for training that is a parabola, and once against training itself."""

import runpy
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARABOLA = """
import json, pathlib, sys
values = dict(word.split("=", 1) for word in sys.argv[1:])
if values.get("model") == "nno":
    print("error: model has no option 'nno'")
    sys.exit(2)
if values["attention"] == "mqa":
    raise ValueError("no mqa today")
folder = pathlib.Path(values["hydra.run.dir"])
folder.mkdir()
loss = (float(values["optimizer.lr"]) - 0.3) ** 2 + int(values["model.n_layers"])
(folder / "summary.json").write_text(json.dumps({"metrics": {"val/bits_per_byte": loss, "mtp/acceptance_1": loss}}))
"""
SPACE = ["optimizer.lr=interval(0.0,1.0)", "model.n_layers=range(1,3)", "attention=mha,mla"]


@pytest.fixture
def tune(tmp_path, monkeypatch, capsys):
    """Runs the script with some arguments -> exit code, output, errors."""
    pytest.importorskip("optuna")
    script = tmp_path / "train.py"
    script.write_text(PARABOLA)

    def run(*arguments, train=script):
        monkeypatch.setattr(sys, "argv", ["tune.py", "--logs", str(tmp_path), *arguments])
        space = runpy.run_path(str(ROOT / "scripts" / "tune.py"))
        space["main"].__globals__["TRAIN"] = train
        return space["main"](), *capsys.readouterr()

    return run


def test_a_study_finds_the_better_part_of_its_space_and_goes_on(tune, tmp_path):
    code, out, _ = tune("--trials", "4", *SPACE)
    assert (code, out.count("trial ")) == (0, 5)
    assert (tmp_path / "study" / "study.db").is_file()
    _, out, _ = tune("--trials", "14", *SPACE)
    assert "trial 3:" not in out
    assert "trial 13:" in out
    assert "model.n_layers=1" in out.splitlines()[-1]
    assert (tmp_path / "study" / "trial-0013" / "summary.json").is_file()
    assert tune("--trials", "14", *SPACE)[1].count("trial ") == 1, "a study that has its trials starts none"


def test_a_curve_that_is_better_high_is_driven_up(tune):
    _, out, _ = tune("--metric", "mtp/acceptance_1", "--trials", "12", *SPACE)
    assert "model.n_layers=2" in out.splitlines()[-1]


def test_a_failed_run_is_a_failed_trial(tune):
    code, out, errors = tune("--trials", "2", "model.n_layers=range(1,3)", "attention=mqa", "optimizer.lr=0.1")
    assert code == 0
    assert errors.count("failed: ValueError: no mqa today") == 2
    assert out.splitlines()[-1] == "every trial failed"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["attention=mha"], "the overrides hold nothing to search"),
        (["--metric", "val/bits", *SPACE], "no curve 'val/bits' in metrics.py; did you mean 'val/bits_per_byte'?"),
        (["--metric", "train/lr", *SPACE], "--metric train/lr is neither better low nor high"),
        (["model=nno", *SPACE], "model has no option 'nno'"),
        (["optimizer.lr=interval(1"], ""),
    ],
)
def test_what_is_wrong_is_one_line_and_2(tune, arguments, line):
    code, _, errors = tune("--trials", "2", *arguments)
    assert code == 2
    assert len(errors.splitlines()) == 1
    assert errors.startswith(f"error: {line}")


def test_a_mistyped_command_does_not_bind_the_study_and_another_space_is_refused(tune):
    assert tune("--trials", "1", "model=nno", *SPACE)[0] == 2
    assert tune("--trials", "1", "model=nano", *SPACE)[0] == 0
    code, _, errors = tune("--trials", "2", "model=nano", *SPACE[:2], "attention=mha")
    assert code == 2
    assert "begun with other overrides" in errors


def test_without_optuna_a_line_names_the_extra(tune, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, errors = tune(*SPACE)
    assert (code, errors) == (2, "error: needs optuna: pip install -e '.[optuna]'\n")


@pytest.mark.slow
def test_trials_are_real_runs(tune, tmp_path):
    text = Path(sysconfig.get_paths()["stdlib"]) / "email"
    short = ["trainer.max_steps=2", "trainer.validate_every=2", "trainer.validation_batches=1", "tokenizer=bytes"]
    fixed = ["model=nano", *short, f"data.corpus.folder={text}", f"paths.cache={tmp_path}/cache"]
    code, out, errors = tune("--trials", "2", "attention=mha,mla", *fixed, train=ROOT / "scripts" / "train.py")
    assert code == 0, errors
    assert "best: trial" in out
    assert (tmp_path / "study" / "trial-0001" / "DONE").is_file()
