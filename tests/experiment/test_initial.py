"""Starting from another run: its weights to the bit, its tokenizer, and only the positions may differ."""

from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf

from deepseek_lab.checkpoint.native import describe
from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.experiment.configs import read_configs
from deepseek_lab.experiment.initial import (
    keep_text_and_shape,
    shared_tokenizer,
    started_model,
    take_head,
    tokenizer_of,
)
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.model.value_head import ValueModel
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.tokenizer import BytePairEncoding, Tokenizer
from tests.text.test_published_files import CHATML_TOKENS, published
from tiny_run import tiny_config, tiny_stage, tiny_trainer

TOKENIZER = BytePairEncoding.Config(vocab_size=290).build(["def f(x):\n    return x + x\n"] * 9)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run and the weights it ended with."""
    folder = tmp_path_factory.mktemp("run")
    stage = tiny_stage()
    tiny_trainer(folder, max_steps=2, every=2).fit(stage)
    TOKENIZER.save(folder / "tokenizer.json")
    return folder, stage.model.state_dict()


def test_weights_are_taken_to_the_bit_and_the_positions_may_be_scaled(run):
    folder, weights = run
    yarn = RopeConfig(type="yarn", factor=4.0, original_max_seq_len=64, mscale=1.0, mscale_all_dim=1.0)
    model = started_model(replace(tiny_config(), rope=yarn, max_seq_len=256, init_std=0.5), str(folder))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert model.config.rope == yarn


def test_a_reward_model_goes_on_with_network_and_head_and_no_policy_starts_from_one(run, tmp_path):
    judge = ValueModel.around(tiny_config().build())
    with torch.no_grad():
        judge.value_D.normal_()
    (tmp_path / "checkpoints").mkdir()
    state = {f"model.{name}": tensor for name, tensor in judge.state_dict().items()}
    content = {"state_dict": state, "model_config": describe(judge.config), "run": {}}
    torch.save(content, tmp_path / "checkpoints" / "step_00000001.ckpt")
    ours = ValueModel.around(started_model(tiny_config(), str(tmp_path), rewards=True))
    take_head(ours, str(tmp_path))
    assert all(torch.equal(tensor, judge.state_dict()[name]) for name, tensor in ours.state_dict().items())
    with pytest.raises(DataError, match="is not a transformer"):
        started_model(tiny_config(), str(tmp_path))
    fresh = ValueModel.around(started_model(tiny_config(), str(run[0]), rewards=True))
    take_head(fresh, str(run[0]))
    assert not fresh.value_D.any(), "a language model has no opinion yet"
    assert torch.equal(fresh.backbone.embedding.weight, run[1]["embedding.weight"])


@pytest.mark.parametrize(
    ("change", "named"), [({"n_layers": 3}, "n_layers is 2, not 3"), ({"dim": 32}, "its dim is 16")]
)
def test_another_shape_is_refused_by_name(run, change, named):
    with pytest.raises(ConfigError) as refusal:
        started_model(replace(tiny_config(), **change), str(run[0]))
    assert refusal.value.field == "init_from"
    assert named in str(refusal.value)


def test_a_run_that_starts_from_another_takes_its_tokenizer_and_later_its_own(run, tmp_path):
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        cfg = task_config(composer.compose([f"init_from='{run[0]}'"]))
    assert read_configs(cfg).tokenizer.build().fingerprint() == TOKENIZER.fingerprint()
    assert read_configs(cfg).tokenizer.largest_vocabulary == TOKENIZER.vocab_size
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_00000001.ckpt").touch()
    other = BytePairEncoding.Config(vocab_size=280).build(["while True: pass\n"] * 9)
    other.save(tmp_path / "tokenizer.json")
    OmegaConf.update(cfg, "resume", str(tmp_path))
    assert read_configs(cfg).tokenizer.build().fingerprint() == other.fingerprint()


def test_a_run_without_a_tokenizer_or_without_a_checkpoint_is_named(run, tmp_path):
    with pytest.raises(DataError, match="no such run folder"):
        tokenizer_of(str(tmp_path / "gone"))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_00000001.ckpt").touch()
    with pytest.raises(DataError, match=r"tokenizer\.json: no such file"):
        tokenizer_of(str(tmp_path))


def test_student_and_teacher_share_a_tokenizer_or_are_refused(run, tmp_path):
    folder, _ = run
    tiny_trainer(tmp_path, max_steps=1, every=1).fit(tiny_stage())
    TOKENIZER.save(tmp_path / "tokenizer.json")
    assert shared_tokenizer([str(folder), str(tmp_path)]) == tokenizer_of(str(folder))
    BytePairEncoding.Config(vocab_size=280).build(["another text\n"]).save(tmp_path / "tokenizer.json")
    with pytest.raises(ConfigError, match="another tokenizer"):
        shared_tokenizer([str(folder), str(tmp_path)])


@pytest.mark.parametrize("own_turns", [False, True])
def test_a_run_keeps_the_chat_template_that_came_with_its_tokenizer(tmp_path, own_turns):
    """Unless it learnt conversations, which are written in the marks of the tokenizer's family."""
    for name in ("there", "run"):
        (tmp_path / name).mkdir()
    tokenizer = published(tmp_path / "there", CHATML_TOKENS, eos_token="<|im_end|>", chat_template="its own")
    keep_text_and_shape(tmp_path / "run", tokenizer, None, own_turns)
    again = Tokenizer.load(tmp_path / "run" / "tokenizer.json")
    assert again.fingerprint() == tokenizer.fingerprint()
    assert again.chat_template == (None if own_turns else "its own")
    assert Chat(again).template.startswith("{% for message" if own_turns else "its own")
