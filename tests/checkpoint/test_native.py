"""Our checkpoint: configs as data both ways, and nothing in a file is trusted."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from deepseek_lab.checkpoint.located import checkpoint_name, latest_checkpoint
from deepseek_lab.checkpoint.native import KINDS, describe, load_model, read_checkpoint, rebuild
from deepseek_lab.config import DataError
from tiny_run import tiny_config, tiny_stage, tiny_trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("run")
    tiny_trainer(folder, max_steps=4, every=2).fit(tiny_stage())
    return folder


@pytest.mark.parametrize(("moe", "depth"), [(False, 0), (True, 2)])
def test_a_config_survives_the_way_to_plain_data_and_back(moe: bool, depth: int) -> None:
    config = tiny_config(moe, depth)
    data = describe(config)
    assert rebuild(data) == config
    assert data["ffn"]["kind"] == ("mixture_of_experts" if moe else "dense_feed_forward")


def test_a_kind_is_chosen_by_identity_not_by_name() -> None:
    class Config(KINDS["rope"]):  # type: ignore[misc]
        pass

    with pytest.raises(TypeError, match="no kind"):
        describe(Config())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "os.system"}, "unknown kind of config 'os.system'"),
        ({"kind": "transfromer"}, "did you mean 'transformer'"),
        ({"_target_": "os.system"}, "unknown field '_target_'"),
        ({"dmi": 4}, "did you mean 'dim'"),
        ({"dim": "abc"}, "dim must be an integer"),
        ({"dim": "${oc.env:HOME}"}, "dim must be an integer"),
        ({"rope": {"kind": "rope", "theta": 0.5}}, "theta"),
        ({"rope": {"_target_": "deepseek_lab.model.rope.RopeConfig"}}, "rope: unknown kind"),
    ],
)
def test_what_a_file_may_not_say_is_refused_in_one_line(change: dict[str, Any], named: str) -> None:
    with pytest.raises(DataError, match=named.replace("$", r"\$").replace("{", r"\{")) as refusal:
        rebuild({**describe(tiny_config()), **change})
    assert "\n" not in str(refusal.value)


def test_a_missing_field_is_refused() -> None:
    data = describe(tiny_config())
    del data["dim"]
    with pytest.raises(DataError, match="dim"):
        rebuild(data)


def test_the_model_comes_back_from_its_run(run: Path) -> None:
    stage = tiny_stage()
    tiny_trainer(run.parent / "again", max_steps=4, every=2).fit(stage)
    model = load_model(run)
    tokens = torch.arange(8)[None]
    stage.eval()
    assert torch.equal(model(tokens).logits, stage.model(tokens).logits)
    assert not model.training
    earlier = load_model(run / "checkpoints" / checkpoint_name(2))
    assert not torch.equal(earlier(tokens).logits, model(tokens).logits)


class Evil:
    """Would run a command if a pickle were trusted."""

    def __reduce__(self) -> Any:
        return (print, ("pickle was trusted",))


def test_missing_truncated_and_foreign_files_get_one_line(run: Path, tmp_path: Path, capsys: Any) -> None:
    whole = latest_checkpoint(run).read_bytes()
    files = {
        "missing.ckpt": ("no such file", None),
        "empty.ckpt": ("truncated, or not a checkpoint", b""),
        "half.ckpt": ("truncated, or not a checkpoint", whole[: len(whole) // 2]),
        "text.ckpt": ("truncated, or not a checkpoint", b"step 4, loss 2.1\n" * 9),
    }
    for name, (cause, content) in files.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=cause) as refusal:
            read_checkpoint(tmp_path / name)
        assert name in str(refusal.value)
        assert "\n" not in str(refusal.value)
    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(DataError, match="other than tensors and plain values"):
        read_checkpoint(tmp_path / "evil.ckpt")
    torch.save({"state_dict": {}, "model_config": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(DataError, match="not a checkpoint of deepseek_lab"):
        read_checkpoint(tmp_path / "foreign.ckpt")
    with pytest.raises(DataError, match="not a file"):
        read_checkpoint(tmp_path)
    assert "pickle was trusted" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [("dim", 10**9, "weight"), ("n_layers", 10**9, "layers"), ("vocab_size", 17, "weight"), ("n_layers", 3, "weight")],
)
def test_sizes_that_are_not_those_of_the_weights_take_no_memory(
    run: Path, tmp_path: Path, field: str, value: int, named: str
) -> None:
    content = copy.deepcopy(read_checkpoint(latest_checkpoint(run)))
    content["model_config"][field] = value
    torch.save(content, tmp_path / "large.ckpt")
    with pytest.raises(DataError, match=named) as refusal:
        load_model(tmp_path / "large.ckpt")
    assert "\n" not in str(refusal.value)
