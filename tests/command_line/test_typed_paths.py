"""What is typed for a path arrives absolute, `~` expanded, never empty; what is read from is there."""

import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.entry import give_caches_a_place
from deepseek_lab.command_line.jobs import expand
from deepseek_lab.command_line.typed_paths import require_read_paths, usable_overrides
from deepseek_lab.config import ConfigError


@pytest.fixture
def usable(tmp_path, monkeypatch):
    """The values of typed overrides of a script, as they arrive in its config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def values(script, *overrides, multirun=False):
        with Composer(PROJECT_ROOT / "conf", script) as composer:
            lines = usable_overrides(composer, overrides, multirun)
            return {one.get_key_element(): one.value() for one in composer.parse(lines)}

    return values


@pytest.mark.parametrize(
    ("script", "key"),
    [
        *(("train", key) for key in ("paths.logs", "paths.cache", "hydra.run.dir", "hydra.sweep.dir")),
        *(("train", key) for key in ("data.corpus.path", "data.corpus.folder", "tokenizer.path", "data.corpus.new")),
        *(("train", key) for key in ("data.corpus.sources.code.folder", "data.corpus.sources.reasoning.path")),
        *(("generate", key) for key in ("prompts", "out")),
        *(("evaluate", key) for key in ("text.path", "out", "harness.include_path")),
        *(("report", key) for key in ("runs", "out")),
        *(("convert", "out"), ("serve", "key_file"), ("pipeline", "folder"), ("rejection_sampling", "out")),
    ],
)
def test_every_path_is_made_absolute(usable, tmp_path, script, key):
    assert usable(script, f"{key}=some/where")[key] == str(tmp_path / "some/where")
    assert usable(script, f"{key}=~/some")[key] == str(tmp_path / "home/some")


@pytest.mark.parametrize("key", ["init_from", "resume", "stage.teacher", "rollout.reward_model", "data.corpus.name"])
def test_a_name_stays_one_unless_it_lies_here(usable, tmp_path, key):
    assert usable("train", f"{key}=owner/model")[key] == "owner/model"
    assert usable("train", f"{key}=~/model")[key] == str(tmp_path / "home/model")
    (tmp_path / "owner/model").mkdir(parents=True)
    assert usable("train", f"{key}=owner/model")[key] == str(tmp_path / "owner/model")


def test_resume_auto_is_no_path(usable, tmp_path):
    (tmp_path / "auto").mkdir()
    assert usable("train", "resume=auto")["resume"] == "auto"


def test_lists_and_several_values_are_mapped_one_by_one(usable, tmp_path):
    assert usable("report", "runs=[a,'~/b']")["runs"] == [str(tmp_path / "a"), str(tmp_path / "home/b")]
    swept = usable("train", "data.corpus.path=a,b", multirun=True)["data.corpus.path"]
    assert [each.text for each in swept.list] == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_an_interpolation_is_left_to_hydra_and_the_home_before_it_is_expanded(usable, tmp_path):
    found = usable("train", "paths.logs=${paths.root}/x", "hydra.run.dir='~/runs/${now:%Y}'")
    assert found["paths.logs"] == "${paths.root}/x"
    assert found["hydra.run.dir"] == f"{tmp_path}/home/runs/${{now:%Y}}"


@pytest.mark.parametrize("value", ["", "'  '"])
@pytest.mark.parametrize(
    ("script", "key"),
    [
        *(
            ("train", key)
            for key in ("data.corpus.path", "sweep", "init_from", "resume", "paths.logs", "hydra.run.dir")
        ),
        *(("report", key) for key in ("runs", "out", "baseline")),
        *(("evaluate", "text.path"), ("generate", "out"), ("generate", "prompts"), ("convert", "out")),
        *(("train", "trainer.max_steps"), ("train", "optimizer.lr")),
    ],
)
def test_an_empty_value_is_none(usable, script, key, value):
    with pytest.raises(ConfigError, match=rf"{key} has no value"):
        usable(script, f"{key}={value}")


def test_an_empty_value_in_a_list_of_paths_is_none_and_an_empty_text_is_a_text(usable):
    with pytest.raises(ConfigError, match="runs has no value"):
        usable("report", "runs=[a,'']")
    assert usable("generate", "prompt=")["prompt"] == ""


def test_what_is_read_from_must_be_there(tmp_path):
    (tmp_path / "chats.jsonl").touch()
    config = OmegaConf.create({"resume": None, "data": {"corpus": {"path": str(tmp_path / "chat.jsonl")}}})
    with pytest.raises(
        ConfigError, match=r"data\.corpus\.path names no file or folder: .*; did you mean 'chats.jsonl'"
    ):
        require_read_paths(config)
    config.data.corpus.path = str(tmp_path / "chats.jsonl")
    require_read_paths(config)
    config.data.corpus.path, config.resume = "/gone", str(Path("run"))
    require_read_paths(config)


@pytest.mark.parametrize("line", ["out=~nobody-has-this-name/x", "runs=[a,'~nobody-has-this-name/x']"])
def test_a_home_that_is_not_known_is_said(usable, line):
    with pytest.raises(ConfigError, match="no home folder is known for ~nobody-has-this-name; write the path from /"):
        usable("report", line)


def test_without_a_home_folder_libraries_keep_their_caches_in_paths_cache(monkeypatch, tmp_path):
    set_by_it = ("XDG_CACHE_HOME", "MPLCONFIGDIR")
    for name in set_by_it:
        monkeypatch.delenv(name, raising=False)
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        (job,) = expand(composer, [f"paths.cache={tmp_path}"], False)
    give_caches_a_place(job)
    assert not any(name in os.environ for name in set_by_it)
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "expanduser", lambda path: path)
        give_caches_a_place(job)
    assert [os.environ.pop(name) for name in set_by_it] == [str(tmp_path), str(tmp_path / "matplotlib")]
