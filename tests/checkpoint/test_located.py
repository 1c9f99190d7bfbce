"""What a person names as a model is found, or refused with the nearest name, before anything is read."""

import os
from pathlib import Path
from typing import Any

import pytest

from deepseek_lab.checkpoint.gguf_file import GgufFile
from deepseek_lab.checkpoint.huggingface import load_pretrained
from deepseek_lab.checkpoint.located import (
    checkpoint_name,
    checkpoints_in,
    is_published,
    latest_checkpoint,
    located,
    model_name,
    require_located,
)
from deepseek_lab.checkpoint.native import read_checkpoint
from deepseek_lab.config import DataError
from deepseek_lab.experiment.published import PublishedModel
from deepseek_lab.input_files import rows
from tests.published_folders import theirs_of, write
from tests.text.test_published_files import published


def test_checkpoints_sort_by_step_and_strangers_are_left_out(tmp_path: Path) -> None:
    names = [checkpoint_name(step) for step in (3, 20, 123456789)]
    for name in [*names, "step_00000099.ckpt.partial", "best.ckpt", "step_x.ckpt"]:
        (tmp_path / name).touch()
    assert [path.name for path in checkpoints_in(tmp_path)] == names
    assert all("=" not in name for name in names)


def test_a_run_without_checkpoints_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such run folder"):
        latest_checkpoint(tmp_path / "none")
    with pytest.raises(DataError, match="holds no checkpoint"):
        latest_checkpoint(tmp_path)


def test_a_package_that_holds_a_gguf_file_is_named_by_its_name(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    (tmp_path / "tiny_weights").mkdir()
    (tmp_path / "tiny_weights" / "__init__.py").write_text("print('imported')\n")
    path = tmp_path / "tiny_weights" / "tiny.gguf"
    path.touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert located("tiny_weights") == path
    assert "imported" not in capsys.readouterr().out
    with pytest.raises(DataError, match="no such run folder"):
        located("json")


def test_a_model_is_called_as_it_was_typed_or_by_its_folder(tmp_path: Path, monkeypatch: Any) -> None:
    """Never by a commit of the hub's cache, nor by dots."""
    snapshot = tmp_path / "models--some--small-model--b" / "snapshots" / "0123abc"
    run = tmp_path / "runs" / "first"
    (run / "checkpoints").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (snapshot / "weights.gguf").touch()
    (tmp_path / "latest").symlink_to(run)
    assert model_name("some/small-model--b", snapshot) == "some/small-model--b"
    assert model_name(str(snapshot), snapshot) == "some/small-model--b"
    assert model_name(str(snapshot / "weights.gguf"), snapshot / "weights.gguf") == "some/small-model--b"
    assert model_name("some_package", tmp_path / "site-packages" / "some_package" / "weights.gguf") == "some_package"
    assert model_name(str(tmp_path / "latest"), tmp_path / "latest") == "latest"
    monkeypatch.chdir(run / "checkpoints")
    assert [model_name(typed, Path(typed)) for typed in ("..", "../", "../../first")] == ["first"] * 3
    monkeypatch.chdir(run)
    assert model_name(".", Path()) == "first"


def test_a_name_of_nothing_gets_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "first_run").mkdir()
    with pytest.raises(DataError, match=r"no such run folder or checkpoint.*first_run"):
        located(str(tmp_path / "frist_run"))


def test_only_what_could_be_read_is_let_through(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "run/checkpoints", "published"):
        os.makedirs(name)
    Path("run", "checkpoints", checkpoint_name(3)).touch()
    Path("run", "config.json").touch()
    Path("published", "config.json").touch()
    assert [is_published(Path(name)) for name in ("run", "published")] == [False, True]
    for name in ("run", "published", f"run/checkpoints/{checkpoint_name(3)}", "someone/a-model-on-the-hub"):
        require_located(name)
    with pytest.raises(DataError, match="holds no checkpoint"):
        require_located("empty")


def test_an_adapter_is_named_with_the_model_it_changes(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base", "peft_type": "LORA"}')
    (tmp_path / "adapter_model.safetensors").touch()
    for read in (located, require_located):
        with pytest.raises(DataError, match=r"is an adapter \(PEFT\) of owner/base, not a model; merge them"):
            read(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")  # a whole model whose adapter lies beside it
    assert located(str(tmp_path)) == tmp_path


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4976698672\n"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_pointer_of_git_lfs_is_named(tmp_path, name):
    write(theirs_of("llama", vocab_size=264), tmp_path)
    published(tmp_path, {"</s>": True}, eos_token="</s>")
    (tmp_path / name).write_text(POINTER)
    found = PublishedModel(tmp_path)
    with pytest.raises(DataError, match=rf"{name} is a pointer of Git LFS, not the file: git lfs pull fetches it"):
        (found.tokenizer() if name.startswith("tokenizer") else load_pretrained(tmp_path))


@pytest.mark.parametrize("name", ["a.gguf", "step_00000001.ckpt", "rows.jsonl"])
def test_other_files_may_be_such_pointers_too(tmp_path, name):
    (tmp_path / name).write_text(POINTER)
    read = {"a.gguf": GgufFile, "step_00000001.ckpt": read_checkpoint, "rows.jsonl": lambda file: list(rows([file]))}
    with pytest.raises(DataError, match=f"{name} is a pointer of Git LFS"):
        read[name](tmp_path / name)
