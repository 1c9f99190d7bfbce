"""Two ranks that start from files: each byte of weights is read once, and both begin with all of them."""

import json

import pytest
import torch

from deepseek_lab.checkpoint.native import describe, load_model
from deepseek_lab.model.value_head import ValueModel
from tests.experiment.test_published import ON_POLICY, STEPS, script, talking
from tests.published_folders import tensors_of
from tests.reading_ranks import train

RANKS = ("trainer.accelerator=cpu", "trainer.devices=2", "trainer.log_every=1")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A start and a teacher of the same tokenizer, in Hugging Face's form."""
    root = tmp_path_factory.mktemp("published")
    return talking(root / "start", num_key_value_heads=2), talking(root / "teacher", num_key_value_heads=4)


def paths(tmp_path):
    return f"paths.logs={tmp_path / 'logs'}", f"paths.cache={tmp_path / 'cache'}"


def assert_read_once(ranks, wanted):
    """`wanted`: bytes of weights that lie in the files."""
    first, second = ranks
    assert second["read"] == []
    assert sum(n_bytes for *_, n_bytes in first["read"]) == wanted
    assert first["weights"] == second["weights"]
    assert first["numbers"]
    assert second["numbers"]


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
def test_start_and_teacher_are_read_by_one_of_two_ranks(folders, trainer, tmp_path):
    start, teacher = folders
    words = ["stage=distill", f"init_from={start}", f"stage.teacher={teacher}", "data.corpus.n_conversations=60"]
    ranks = train(tmp_path, f"trainer={trainer}", *words, *STEPS, *RANKS, *paths(tmp_path))
    stored = [tensor.nbytes for folder in folders for tensor in tensors_of(folder).values()]
    assert_read_once(ranks, sum(stored))
    (run,) = (tmp_path / "logs" / "distill" / "runs").iterdir()
    losses = [row["train/loss"] for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())]
    assert all(0 < loss < 20 for loss in losses)


@pytest.mark.slow
def test_policy_reference_critic_and_judge_are_read_by_one_of_two_ranks(folders, tmp_path):
    assert script("convert", f"checkpoint={folders[0]}", f"out={tmp_path / 'start'}") == 0
    judge = tmp_path / "judge"
    (judge / "checkpoints").mkdir(parents=True)
    model = ValueModel.around(load_model(tmp_path / "start"))
    torch.nn.init.normal_(model.value_D)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {"state_dict": state, "model_config": describe(model.config), "run": {}}
    torch.save(content, judge / "checkpoints" / "step_00000001.ckpt")
    (judge / "tokenizer.json").write_bytes((tmp_path / "start" / "tokenizer.json").read_bytes())
    (judge / "tokenizer_config.json").write_bytes((tmp_path / "start" / "tokenizer_config.json").read_bytes())
    words = [f"init_from={tmp_path / 'start'}", f"rollout.reward_model={judge}", "stage.critic=reward_model"]
    words += ["stage=ppo", "rollout.rewards={reward_model:1.0}", "stage.reference_weight=0.1", "template=chat"]
    ranks = train(tmp_path, "trainer=ddp", *words, *STEPS, *ON_POLICY, *RANKS, *paths(tmp_path))
    files = [next((tmp_path / name / "checkpoints").glob("*.ckpt")) for name in ("start", "judge")]
    assert_read_once(ranks, sum(file.stat().st_size for file in files))
    assert set(ranks[0]["weights"]) == {"stage", "reward_model"}
