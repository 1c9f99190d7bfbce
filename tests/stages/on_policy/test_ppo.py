"""PPO's numbers: rewards, advantages and the critic, by loops over one answer at a time."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from deepseek_lab.config import ConfigError
from deepseek_lab.model.value_head import ValueModel
from deepseek_lab.stages.on_policy.answers import ADVANTAGE, OLD, REFERENCE, Answers
from deepseek_lab.stages.on_policy.ppo import RETURN, VALUE, PpoStage
from tiny_policy import policy_stage
from tiny_run import rows, tiny_trainer


class Once(PpoStage):
    """Keeps what the first update was prepared with."""

    kept: Any = None

    def _prepared(self, experience: Any) -> Answers:
        answers = super()._prepared(experience)
        self.kept = self.kept or (experience, answers)
        return answers


def prepared(folder: Path, **knobs: Any) -> tuple[Any, Any, Answers, ValueModel]:
    """A stage after one iteration, its experience and columns, and the critic that valued them."""
    stage = policy_stage("ppo", **knobs)
    stage.__class__ = Once
    with torch.no_grad():
        stage.critic.value_D.normal_()
        for p in stage.reference.parameters():
            p.add_(0.05 * torch.randn_like(p))
    critic = copy.deepcopy(stage.critic)
    tiny_trainer(folder, max_steps=1, log_every=1, validate_every=5).fit(stage)
    return stage, *stage.kept, critic


def test_advantages_and_returns_are_those_of_the_formulas(tmp_path: Path) -> None:
    knobs = {"reference_weight": 0.2, "discount": 0.9, "decay": 0.8, "whiten": False}
    _, experience, answers, critic = prepared(tmp_path, **knobs)
    columns = answers.columns
    for row in range(12):
        mask_T = experience.mask_BT[row]
        with torch.no_grad():
            value_T = critic(answers.tokens_BT1[row : row + 1, :-1])[0][0][mask_T]
        assert torch.allclose(columns[VALUE][row][mask_T], value_T, atol=1e-5)
        reward_T = -0.2 * (columns[OLD] - columns[REFERENCE])[row][mask_T]
        reward_T[-1] += experience.answer_B[row]
        next_T = torch.cat([value_T[1:], torch.zeros(1)])
        delta_T = reward_T + 0.9 * next_T - value_T
        n = len(delta_T)
        expected = [sum(0.72 ** (k - t) * delta_T[k] for k in range(t, n)) for t in range(n)]
        assert torch.allclose(columns[ADVANTAGE][row][mask_T], torch.stack(expected), atol=1e-5)
        assert torch.allclose(columns[RETURN][row][mask_T], torch.stack(expected) + value_T, atol=1e-5)


def test_whitened_advantages_have_mean_0_and_deviation_1(tmp_path: Path) -> None:
    _, experience, answers, _ = prepared(tmp_path)
    inside = answers.columns[ADVANTAGE][experience.mask_BT]
    assert float(inside.mean()) == pytest.approx(0, abs=1e-5)
    assert float(inside.std()) == pytest.approx(1, abs=1e-4)


def test_the_critic_comes_to_expect_the_reward_and_leaves_its_language_head_alone(tmp_path: Path) -> None:
    stage = policy_stage(
        "ppo", lr=6e-3, epochs=4, moe=False, reference_weight=0.0, value_clip=None, value_weight=1.0, batch_size=6
    )
    head = stage.critic.backbone.head.weight.clone()
    tiny_trainer(tmp_path, max_steps=12, log_every=1, validate_every=20).fit(stage)
    found = rows(tmp_path)
    assert found[0]["value/mean"] == 0, "it starts at 0 everywhere"
    assert found[0]["value/explained_variance"] == pytest.approx(0, abs=1e-6)
    late = found[-4:]
    apart = sum(row["value/mean"] - row["reward"] for row in late) / len(late)
    assert abs(apart) < found[0]["reward"] / 2
    assert stage.critic.backbone.head.weight.equal(head)
    assert stage.critic.value_D.abs().max() > 0


def test_the_critic_has_a_rate_of_its_own(tmp_path: Path) -> None:
    stage = policy_stage("ppo", critic_lr_factor=2.0)
    trainer = tiny_trainer(tmp_path, max_steps=1, validate_every=5)
    trainer.fit(stage)
    groups = trainer.optimizers[0].param_groups
    policy, critic = ({id(p) for p in module.parameters()} for module in (stage.model, stage.critic))
    rates = {group["lr"]: {id(p) for p in group["params"]} for group in groups}
    assert rates[3e-3] <= policy
    assert rates[6e-3] <= critic


@pytest.mark.parametrize(
    ("knobs", "field"),
    [
        ({"critic": "reward_model"}, "critic"),
        ({"discount": 1.5}, "discount"),
        ({"decay": -0.1}, "decay"),
        ({"loss": {"supervision": "process"}}, "loss.supervision"),
    ],
)
def test_bad_values(knobs: Any, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy_stage("ppo", **knobs)
    assert caught.value.field == field
