"""A learned reward as a judge."""

from pathlib import Path
from typing import Any

import pytest
import torch

from deepseek_lab.checkpoint.fingerprint import fingerprint
from deepseek_lab.checkpoint.first_rank import unread_weights
from deepseek_lab.checkpoint.native import describe
from deepseek_lab.config import ConfigError
from deepseek_lab.data.conversation import ChatFormat, Turn
from deepseek_lab.model.value_head import ValueModel
from deepseek_lab.rollout.reward_model import RewardModel
from deepseek_lab.tasks.task import Example
from deepseek_lab.text.tokenizer import BytePairEncoding, Bytes
from tiny_policy import policy, policy_stage
from tiny_run import rows, tiny_trainer

TOKENIZER = Bytes.Config().build()
ONE = Example(question="q", answer="")


def value_model() -> ValueModel:
    model = ValueModel.around(policy())
    with torch.no_grad():
        model.value_D.normal_()
    return model


def run_folder(folder: Path) -> Path:
    """A run of stage=reward, as far as a judge reads it."""
    model = value_model()
    (folder / "checkpoints").mkdir(parents=True)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {"state_dict": state, "model_config": describe(model.config), "run": {}}
    torch.save(content, folder / "checkpoints" / "step_00000001.ckpt")
    TOKENIZER.save(folder / "tokenizer.json")
    return folder


def test_scores_are_those_of_one_conversation_at_a_time() -> None:
    judge, said = RewardModel(value_model(), TOKENIZER), ["", "a", "longer words"]
    found = [reward.total for reward in judge.rewards([ONE] * 3, said)]
    for score, text in zip(found, said, strict=True):
        ids = ChatFormat(TOKENIZER).encode([Turn("user", "q"), Turn("assistant", text)]).ids
        with torch.no_grad():
            alone = judge.model(torch.tensor(ids)[None])[0][0, -1]
        assert score == pytest.approx(float(alone), abs=1e-5)


def test_a_thought_is_not_judged_and_too_much_is_no_verdict() -> None:
    judge = RewardModel(value_model(), TOKENIZER)
    plain, thought, long = judge.rewards([ONE] * 3, ["yes", "<think>well</think>\nyes", "x" * 100])
    assert plain.parts == pytest.approx(thought.parts)
    assert long.total is None
    assert "more than the reward model's 64" in str(long.failure)


def test_a_judge_of_whole_answers_is_shown_the_thought() -> None:
    model, said = value_model(), "<think>well</think>\nyes"
    whole, cut = (RewardModel(model, TOKENIZER, reads).rewards([ONE], [said])[0] for reads in (True, False))
    ids = ChatFormat(TOKENIZER).encode([Turn("user", "q"), Turn("assistant", said)]).ids
    with torch.no_grad():
        alone = model(torch.tensor(ids)[None])[0][0, -1]
    assert whole.total == pytest.approx(float(alone), abs=1e-5)
    assert whole.total != pytest.approx(cut.total)


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_a_stage_learns_from_it_and_names_it(kind: str, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "reward")
    knobs: dict[str, Any] = {"critic": "reward_model"} if kind == "ppo" else {}
    rollout = {"reward_model": str(run), "rewards": {"reward_model": 1.0, "total": 0.5}}
    stage = policy_stage(kind, rollout=rollout, **knobs)
    if kind == "ppo":
        assert stage.critic.value_D.equal(stage.rollout.reward_model.model.value_D)
        assert stage.critic.value_D.requires_grad
    tiny_trainer(tmp_path, max_steps=1, log_every=1, validate_every=5).fit(stage)
    (row,) = rows(tmp_path)
    assert row["rewards/reward_model/mean"] != 0
    assert stage.resumable.identity()["reward_model"] == fingerprint(value_model())


def test_a_rank_to_which_its_numbers_come_later_builds_the_stage_all_the_same(tmp_path: Path) -> None:
    rollout = {"reward_model": str(run_folder(tmp_path)), "rewards": {"reward_model": 1.0}}
    with unread_weights():
        stage = policy_stage("ppo", rollout=rollout, critic="reward_model")
    assert stage.critic.value_D.isnan().all()
    assert set(stage.companions) == {"reward_model"}


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    other = BytePairEncoding.Config(vocab_size=270).build(["a b c d"])
    with pytest.raises(ConfigError, match="another tokenizer"):
        RewardModel.of_run(str(run), other)
