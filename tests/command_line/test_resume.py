"""`resume=` finds the right folder, types the same command again there, and lets new values win."""

import fcntl
import os

import pytest
from omegaconf import OmegaConf

from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.resume import newest_unfinished, quoted, resumed_overrides


@pytest.fixture
def run(app):
    """Makes a run folder as a killed run leaves it: the app's own .hydra and one checkpoint of a given age."""

    def made(*overrides, age=0, checkpoint=True, done=False):
        assert app(*overrides)[0] == 0
        folder = app.folders.pop()
        app.seen.clear()
        if checkpoint:
            write_checkpoint(folder, "last.ckpt", age)
        if done:
            (folder / "DONE").touch()
        return folder

    return made


def write_checkpoint(folder, name, age):
    path = folder / "checkpoints" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"weights")
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    return path


def test_a_resumed_run_is_the_same_command_in_the_same_folder(app, run):
    folder = run("attention=mla", "model.kv_lora_rank=8", "seed=3")
    assert app(f"resume={folder}", "trainer.max_steps=20", "seed=4") == (0, [])
    cfg = app.seen[0]
    assert app.folders == [folder]
    assert (cfg.attention.kv_lora_rank, cfg.trainer.max_steps, cfg.seed) == (8, 20, 4)
    assert cfg.resume == str(folder)
    assert len(list(folder.parent.iterdir())) == 1


def test_a_run_can_be_resumed_again_with_what_the_last_resume_changed(app, run):
    folder = run("attention=mla")
    app(f"resume={folder}", "trainer.max_steps=20")
    app(f"resume={folder}")
    app(f"resume={folder}", "attention=mqa", "trainer.max_steps=30")
    assert [cfg.trainer.max_steps for cfg in app.seen] == [20, 20, 30]
    stored = list(OmegaConf.load(folder / ".hydra" / "overrides.yaml"))
    assert [line.partition("=")[0] for line in stored] == ["attention", "trainer.max_steps", "resume"]


def test_a_job_of_an_ablation_is_resumed_alone(app):
    app("ablation=attention")
    folder = app.folders[4]
    write_checkpoint(folder, "last.ckpt", 0)
    seen = len(app.seen)
    assert app(f"resume={folder}") == (0, [])
    assert len(app.seen) == seen + 1
    assert app.folders[-1] == folder
    assert len(list((app.logs / "pretrain" / "multiruns").iterdir())) == 1
    assert app.seen[-1].attention == app.seen[4].attention
    assert app.seen[-1].seed == app.seen[4].seed


def test_auto_takes_the_newest_unfinished_run_in_runs_and_multiruns(app, run):
    old = run("seed=1", age=50)
    run("seed=2", age=10, done=True)
    run("seed=3", checkpoint=False)
    assert app("resume=auto") == (0, [])
    assert app.folders == [old]
    app("-m", "seed=4,5")
    write_checkpoint(app.folders[-1], "last.ckpt", 20)
    assert app("resume=auto") == (0, [])
    assert app.folders[-1] == app.folders[-2]
    assert app.seen[-1].seed == 5


def test_auto_passes_over_a_run_that_is_being_written(app, run):
    old = run("seed=1", age=50)
    busy = run("seed=2", age=0)
    with (busy / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert app("resume=auto") == (0, [])
        assert app.folders == [old]
        code, lines = app(f"resume={busy}")
        assert (code, len(lines)) == (2, 1)
        assert f"{busy} is being written by another process" in lines[0]
    assert app(f"resume={busy}") == (0, [])


def test_auto_takes_only_a_run_made_with_what_is_typed(app, run):
    mha = run("seed=1", age=50)
    mla = run("attention=mla", age=10)
    app("resume=auto", "attention=mha")
    app("resume=auto", "attention=mla", "trainer.max_steps=99")
    app("resume=auto", "seed=1", "model.dim=64")
    assert app.folders == [mha, mla, mla], "a default that is typed is the same choice; a longer budget may differ"
    code, lines = app("resume=auto", "attention=mqa")
    assert (code, len(lines)) == (2, 1)
    assert str(mla) in lines[0]


def test_auto_passes_over_a_folder_that_cannot_be_read(app, run):
    good = run("seed=1", age=50)
    broken = run("seed=2", age=0)
    (broken / ".hydra" / "config.yaml").write_text("model: [1\nx: }")
    assert app("resume=auto", "seed=1") == (0, [])
    assert app.folders == [good]


def test_auto_without_any_run_is_one_line(app):
    code, lines = app("resume=auto")
    assert (code, len(lines)) == (2, 1)
    assert "no unfinished run with a checkpoint" in lines[0]
    assert not app.logs.exists()


def test_a_checkpoint_file_stands_for_its_run_when_it_is_the_last(app, run):
    folder = run("seed=3", age=5)
    older = write_checkpoint(folder, "step-1.ckpt", age=100)
    assert app(f"resume={folder / 'checkpoints' / 'last.ckpt'}") == (0, [])
    assert app.seen[0].resume == str(folder)
    code, lines = app(f"resume={older}")
    assert (code, len(lines)) == (2, 1)
    assert f"use resume={folder}" in lines[0]


@pytest.mark.parametrize("kind", ["missing", "empty", "no checkpoint", "foreign file", "wrong option"])
def test_what_cannot_be_resumed_is_one_line_and_exit_2(app, run, tmp_path, kind):
    folder = run("seed=1", checkpoint=kind != "no checkpoint")
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.ckpt").write_bytes(b"")
    value = {"missing": tmp_path / "gone", "empty": tmp_path / "empty", "foreign file": tmp_path / "weights.ckpt"}
    words = ["attention=mlaa"] if kind == "wrong option" else []
    code, lines = app(f"resume={value.get(kind, folder)}", *words)
    assert (code, len(lines)) == (2, 1), lines
    assert app.seen == []


def test_a_finished_run_goes_on_only_with_more_steps(app, run):
    folder = run(done=True)
    for words in ([], ["trainer.max_steps=10"], ["trainer.max_steps=5"], ["seed=2"]):
        code, lines = app(f"resume={folder}", *words)
        assert (code, len(lines)) == (2, 1)
        assert "finished" in lines[0]
        assert "trainer.max_steps" in lines[0]
    assert app(f"resume={folder}", "trainer.max_steps=11") == (0, [])


def test_folders_with_spaces_quotes_and_commas_survive_the_way_through_the_grammar(app, tmp_path):
    logs = tmp_path / "it's a, {strange} =folder"
    assert app(f"paths.logs={quoted(logs)}", "attention=mla") == (0, [])
    folder = app.folders[0]
    assert folder.parent.parent.parent == logs
    write_checkpoint(folder, "last.ckpt", 0)
    assert app(f"resume={quoted(folder)}") == (0, [])
    assert app.folders[1] == folder
    assert app.seen[1].attention == app.seen[0].attention
    assert app(f"paths.logs={quoted(logs)}", "resume=auto") == (0, [])
    assert app.folders[2] == folder


def test_a_command_that_is_rewritten_already_is_left_alone(conf_dir, app, run):
    folder = run("seed=3")
    with Composer(conf_dir, "train") as composer:
        lines = resumed_overrides(composer, [f"resume={folder}"])
        assert f"hydra.run.dir={quoted(folder)}" in lines
        assert resumed_overrides(composer, lines) is None, "the ranks that Lightning starts get the rewritten line"
        assert resumed_overrides(composer, ["seed=1", "resume=null"]) is None


def test_newest_means_the_newest_checkpoint_not_the_newest_folder(app, run):
    first = run("seed=1", age=0)
    run("seed=2", age=100)
    assert newest_unfinished(app.logs, lambda folder: True) == first


def finished_or_cut_off(app, *overrides, done, step=8):
    """A run of the small app in a folder of a person's choosing, as it was left."""
    folder = app.logs / "mine"
    assert app(f"hydra.run.dir={folder}", *overrides)[0] == 0
    write_checkpoint(folder, f"step_{step:08d}.ckpt", 0)
    if done:
        (folder / "DONE").touch()
    app.seen.clear()
    return folder


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("other", ["attention=mla", "seed=2", "stage.weight_decay=0.2", "trainer.max_steps=20"])
def test_a_folder_is_not_used_again_for_another_run(app, other, done):
    folder = finished_or_cut_off(app, "seed=1", done=done)
    before = {path.name: path.read_bytes() for path in (folder / ".hydra").iterdir()}
    code, lines = app(f"hydra.run.dir={folder}", other)
    assert (code, len(lines), app.seen) == (2, 1, [])
    key = {"attention=mla": "attention."}.get(other, other.partition("=")[0])
    assert f"hydra.run.dir {folder} holds a run with {key}" in lines[0] or "attention" in lines[0]
    assert {path.name: path.read_bytes() for path in (folder / ".hydra").iterdir()} == before


def test_the_same_run_goes_on_in_its_folder_whatever_changes_no_number(app):
    folder = finished_or_cut_off(app, "seed=1", done=False)
    assert app(f"hydra.run.dir={folder}", "seed=1", f"paths.cache={folder}/elsewhere") == (0, [])
    assert len(app.seen) == 1


def test_a_sweeps_job_folder_is_not_used_for_another_job(app):
    app("-m", "seed=1,2", "hydra.sweep.dir=" + str(app.logs / "s"), "hydra.sweep.subdir=job")
    code, lines = app("-m", "seed=1,2", "hydra.sweep.dir=" + str(app.logs / "t"), "hydra.sweep.subdir=job")
    assert code == 2
    assert lines == [f"error: hydra.sweep.subdir {app.logs / 't' / 'job'} would be the folder of two different jobs"]


@pytest.mark.parametrize(("steps", "code"), [(5, 2), (8, 2), (9, 0), (10, 0)])
def test_an_end_behind_the_checkpoint_is_refused(app, steps, code):
    folder = finished_or_cut_off(app, done=False)
    done, lines = app(f"resume={folder}", f"trainer.max_steps={steps}")
    assert done == code
    assert not (folder / "DONE").exists()
    if code:
        assert lines[0].startswith(
            f"error: trainer.max_steps = {steps} lies not ahead of the run's checkpoint of step 8"
        )


def test_a_run_that_was_cut_off_after_its_last_step_goes_on(app):
    folder = finished_or_cut_off(app, "trainer.max_steps=8", done=False)
    assert app(f"resume={folder}") == (0, [])
