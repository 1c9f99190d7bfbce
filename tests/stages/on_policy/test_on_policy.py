"""The loop that PPO and GRPO share: iterations, gradients, references, curves."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from deepseek_lab.checkpoint.located import checkpoint_name
from deepseek_lab.checkpoint.native import load_model, read_checkpoint
from deepseek_lab.config import ConfigError
from deepseek_lab.objectives.advantages import process_advantages
from deepseek_lab.stages.errors import TrainingError
from deepseek_lab.stages.on_policy.answers import ADVANTAGE, Answers
from deepseek_lab.tasks.task import Reward
from tiny_policy import Letters, policy_stage
from tiny_run import V3_BALANCE, TinyAdamW, rows, tiny_trainer


def run(stage: Any, folder: Path, steps: int = 2, **settings: Any) -> Any:
    """Trains; every step is logged."""
    trainer = tiny_trainer(folder, max_steps=steps, **{"log_every": 1, "validate_every": 2, "every": 100, **settings})
    trainer.fit(stage)
    return trainer


class Wide(Callback):
    """Makes everything float64; Lightning makes it float32 before."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        pl_module.double()


def gradients(stage: Any, folder: Path) -> dict[str, torch.Tensor]:
    """Of the only update of one iteration, in float64 and unclipped."""
    stage.optimizer_config = TinyAdamW(lr=0.0, max_grad_norm=None)
    clip, found = stage.clip, {}

    def kept() -> torch.Tensor:
        found.update({name: p.grad.clone() for name, p in stage.named_parameters() if p.grad is not None})
        return clip()

    stage.clip = kept
    run(stage, folder, steps=1, callbacks=[Wide()])
    return {name.removeprefix("model."): grad for name, grad in found.items()}


def alike(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], tolerance: float = 1e-10) -> bool:
    largest = max(float(grad.abs().max()) for grad in first.values())
    apart = max(float((first[name] - second[name]).abs().max()) for name in first)
    return first.keys() == second.keys() and largest > 1e-6 and apart < tolerance * largest


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        ("grpo", {}),
        ("grpo", {"epochs": 2, "minibatches": 3, "loss": {"ratio": "sequence"}}),
        ("grpo", {"loss": {"supervision": "process"}}),
        ("ppo", {"epochs": 2, "minibatches": 2}),
    ],
)
def test_the_reward_rises(kind: str, knobs: Any, tmp_path: Path) -> None:
    stage = policy_stage(kind, batch_size=6, lr=6e-3, moe=False, **knobs)
    run(stage, tmp_path, steps=20)
    reward = [row["reward"] for row in rows(tmp_path)]
    assert np.mean(reward[-3:]) > np.mean(reward[:3]) + 0.15
    assert stage.records.latest["val/loss"] == pytest.approx(1 - stage.records.latest["eval/letters/pass@1"])


def test_an_iteration_is_one_step_whatever_it_updates(tmp_path: Path) -> None:
    stage = policy_stage(epochs=2, minibatches=3)
    trainer = run(stage, tmp_path, steps=3)
    assert trainer.global_step == stage.steps_done == 3
    found = rows(tmp_path)
    assert [row["step"] for row in found] == [1, 2, 3]
    counts = {int(state["step"]) for state in trainer.optimizers[0].state.values()}
    assert counts == {3 * 2 * 3}
    assert found[-1]["train/tokens"] == sum(round(row["completions/mean_length"] * 12) for row in found)
    assert found[-1]["sampling/tokens"] == found[-1]["train/tokens"]


def test_the_gradient_is_that_of_the_paper(tmp_path: Path) -> None:
    """DeepSeekMath eq. 3 and 4, one answer at a time, without padding or chunks."""
    stage = policy_stage(loss={"aggregation": "sequence_mean", "kl_weight": 0.3}, moe=False)
    with torch.no_grad():
        for p in stage.reference.parameters():
            p.add_(0.05 * torch.randn_like(p))
    found = gradients(stage, tmp_path)
    reference = stage.reference.model
    groups = stage.rollout.transcript
    total: Any = 0.0
    for group in groups:
        reward = torch.tensor(group.answers, dtype=torch.float64)
        advantage = (reward - reward.mean()) / (reward.std() + 1e-4)
        for value, completion in zip(advantage, group.completions, strict=True):
            ids = torch.tensor([[*group.prompt, *completion.ids]])
            logp, from_reference = (
                model(ids[:, :-1]).logits.log_softmax(-1).gather(2, ids[:, 1:, None])[0, len(group.prompt) - 1 :, 0]
                for model in (stage.model, reference)
            )
            ratio = (logp - logp.detach()).exp()
            d = from_reference - logp
            total = total + (ratio * value - 0.3 * (d.exp() - d - 1)).mean() / 12
    stage.model.zero_grad()
    (-total).backward()
    expected = {name: p.grad for name, p in stage.model.named_parameters() if p.grad is not None}
    assert alike(found, expected, 1e-8)
    assert not alike({name: -grad for name, grad in found.items()}, expected, 1e-2)


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
@pytest.mark.parametrize("aggregation", ["sequence_mean", "token_mean", "group_token_mean", "constant"])
def test_cutting_an_update_changes_no_gradient(kind: str, aggregation: str, tmp_path: Path) -> None:
    found = [
        gradients(policy_stage(kind, {"aggregation": aggregation}, micro_tokens=size), tmp_path / str(size))
        for size in (1, 40, 100_000)
    ]
    assert alike(found[0], found[1])
    assert alike(found[0], found[2])


def test_a_pass_for_the_old_policy_changes_nothing_where_the_first_epoch_gives_it(tmp_path: Path) -> None:
    plain, passed = (policy_stage(epochs=3) for _ in range(2))
    passed.__class__ = type("Asking", (type(passed),), {"needs_old_pass": True})
    for stage, folder in ((plain, "plain"), (passed, "passed")):
        run(stage, tmp_path / folder, steps=2, callbacks=[Wide()])
    for ours, theirs in zip(plain.model.parameters(), passed.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert rows(tmp_path / "plain")[0]["policy/ratio_max"] > 1.001


def test_training_computes_what_was_sampled(tmp_path: Path) -> None:
    run(policy_stage(rollout={"temperature": 0.6}), tmp_path)
    for row in rows(tmp_path):
        assert 0 < row["sampling/logp_difference/max"] < 1e-4
        assert row["sampling/logp_difference/mean"] <= row["sampling/logp_difference/max"]
        assert row["policy/ratio_max"] == 1.0


def test_a_reference_is_kept_where_the_objective_asks_for_one_alone(tmp_path: Path) -> None:
    assert policy_stage().reference is None
    assert policy_stage("ppo", reference_weight=0.0).reference is None
    stage = policy_stage(loss={"kl_weight": 0.1})
    start = [p.clone() for p in stage.model.parameters()]
    run(stage, tmp_path, steps=3)
    assert all(p.equal(q) for p, q in zip(stage.reference.model.parameters(), start, strict=True))
    assert rows(tmp_path)[0]["kl"] == 0
    assert rows(tmp_path)[2]["kl"] > 0


def test_the_iterative_reference_is_the_policy_of_a_while_ago(tmp_path: Path) -> None:
    stage = policy_stage(loss={"kl_weight": 0.1}, reference_every=2)
    run(stage, tmp_path, steps=5, every=2)
    kl = [row["kl"] for row in rows(tmp_path)]
    assert [value == 0 for value in kl] == [True, False, True, False, True]
    saved = load_model(tmp_path / "checkpoints" / checkpoint_name(4))
    for ours, theirs in zip(stage.reference.model.parameters(), saved.parameters(), strict=True):
        assert ours.equal(theirs)


@pytest.mark.parametrize(("router_bias", "moves"), [("frozen", False), ("per_iteration", True)])
def test_selection_biases_move_once_an_iteration_or_not_at_all(router_bias: str, moves: bool, tmp_path: Path) -> None:
    stage = policy_stage(router_bias=router_bias, balance=V3_BALANCE, epochs=2, minibatches=2)
    run(stage, tmp_path, steps=1)
    bias_E = stage.model.routers()[0].selection_bias_E
    assert bool(bias_E.abs().max() > 0) == moves
    assert bias_E.abs().max() <= V3_BALANCE.bias_update_speed * (1 + 1e-6)


def test_expert_loads_count_no_padding(tmp_path: Path) -> None:
    stage = policy_stage(micro_tokens=10_000)
    run(stage, tmp_path, steps=1)
    inside = sum(len(group.prompt) + length - 1 for group in stage.rollout.transcript for length in group.lengths)
    assert [float(load_E.sum()) for _, load_E in stage.expert_load] == [2.0 * inside]


def test_steps_are_normalised_over_the_group_and_added_up_to_the_end(tmp_path: Path) -> None:
    stage = policy_stage(loss={"supervision": "process"})
    experience = stage.rollout.collect(stage.model, 0)
    found = stage.columns(experience, Answers.of(experience))[ADVANTAGE]
    width, ends = experience.mask_BT.shape[1], experience.step_end_BS
    expected = process_advantages(experience.step_reward_BS, ends, width, 4) * experience.mask_BT
    assert found.equal(expected)
    own = found[0][experience.mask_BT[0]]
    assert len(set(own.tolist())) > 1, "an answer's tokens differ"


class NoSteps(Letters):
    """Rewards answers alone."""

    def rewards(self, examples: Any, completions: Any) -> list[Reward]:
        return [Reward(total=self.verdict(text).total) for text in completions]


def test_a_task_without_steps_cannot_supervise_the_process() -> None:
    stage = policy_stage(loss={"supervision": "process"})
    stage.rollout.rewarding.judges[0] = NoSteps()
    experience = stage.rollout.collect(stage.model, 0)
    with pytest.raises(ConfigError, match="the task gives none"):
        stage.columns(experience, Answers.of(experience))


def test_the_reward_for_form_joins_as_the_preset_says(tmp_path: Path) -> None:
    found = {}
    for form in ("summed", "separate", "gate"):
        stage = policy_stage(loss={"format": form}, rollout={"rewards": {"total": 1.0, "format": 0.5}})
        experience = stage.rollout.collect(stage.model, 0)
        found[form] = stage.columns(experience, Answers.of(experience))[ADVANTAGE]
    assert not found["summed"].equal(found["separate"])
    assert not found["summed"].equal(found["gate"])


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_answers_that_nobody_judges_teach_nothing(kind: str, tmp_path: Path) -> None:
    class Half(Letters):
        def rewards(self, examples: Any, completions: Any) -> list[Reward]:
            return [self.verdict(t) if len(t) % 2 else Reward(total=None, failure="?") for t in completions]

    stage = policy_stage(kind, **({"reference_weight": 0.0} if kind == "ppo" else {}))
    stage.rollout.rewarding.judges[0] = Half()
    run(stage, tmp_path, steps=1)
    (row,) = rows(tmp_path)
    assert 0 < row["sampling/failures"] < 1
    assert math.isfinite(row["train/loss"])
    assert math.isfinite(row["reward"])


def test_truncated_answers_may_be_left_out(tmp_path: Path) -> None:
    stage = policy_stage(loss={"mask_truncated": True}, rollout={"max_new_tokens": 1})
    run(stage, tmp_path, steps=1)
    (row,) = rows(tmp_path)
    assert row["completions/clipped_ratio"] > 0.9
    assert row["train/grad_norm"] == 0 or row["completions/clipped_ratio"] < 1


def test_a_loss_of_zero_is_explained_once(tmp_path: Path, capsys: Any) -> None:
    run(policy_stage(loss={"aggregation": "constant", "advantage_scale": "none"}, moe=False), tmp_path, steps=3)
    said = [line for line in capsys.readouterr().err.splitlines() if "reads 0" in line or "are 0" in line]
    assert len(said) <= 1
    stage = policy_stage()
    stage.rollout.rewarding.judges[0] = type(
        "Alike", (), {"rewards": lambda self, e, c: [Reward(total=1.0)] * len(c)}
    )()
    run(stage, tmp_path / "alike", steps=3)
    said = [line for line in capsys.readouterr().err.splitlines() if "the loss" in line]
    assert said == [
        "the loss and its gradient are 0: in 100% of the groups all answers are worth the same, so no answer is better "
        "than another. Easier questions, a better start or more answers a group would help"
    ]


def test_a_loss_that_is_no_number_names_the_iteration(tmp_path: Path) -> None:
    stage = policy_stage()
    prepared = stage._prepared

    def poisoned(experience: Any) -> Answers:
        answers = prepared(experience)
        if stage.steps_done == 1:
            answers.columns[ADVANTAGE][0] = math.nan
        return answers

    stage._prepared = poisoned
    with pytest.raises(TrainingError, match="iteration 2: the loss or its gradient is not finite"):
        run(stage, tmp_path, steps=3)


def test_a_checkpoint_holds_the_rollouts_state_and_loads_as_a_model(tmp_path: Path) -> None:
    stage = policy_stage("ppo", rollout={"curriculum": "pass_rate"})
    run(stage, tmp_path, steps=2)
    saved = read_checkpoint(tmp_path / "checkpoints" / checkpoint_name(2))
    assert saved["run"]["rollout"]["curriculum"]["seen"] == stage.rollout.curriculum.seen.tolist()
    parts = {name.split(".")[0] for name in saved["state_dict"]}
    assert parts == {"model", "reference", "critic"}
    load_model(tmp_path / "checkpoints" / checkpoint_name(2))


@pytest.mark.parametrize(("mtp_weight", "moves"), [(0.0, False), (0.3, True)])
def test_mtp_modules_rest_or_learn_the_answers(mtp_weight: float, moves: bool, tmp_path: Path) -> None:
    stage = policy_stage(depth=2, mtp_weight=mtp_weight, epochs=2)
    before = [p.clone() for p in stage.model.mtp.parameters()]
    run(stage, tmp_path, steps=2)
    changed = [not p.equal(q) for p, q in zip(stage.model.mtp.parameters(), before, strict=True)]
    assert any(changed) == moves
    assert ("train/loss_mtp_2" in rows(tmp_path)[0]) == moves


def test_tokens_whose_experts_differ_are_counted_by_themselves(tmp_path: Path) -> None:
    stage = policy_stage(micro_tokens=10_000)
    collected = stage._collected

    def other_experts() -> Any:
        experience = collected()
        row = int(experience.length_B.argmax())
        place = int(experience.mask_BT[row].nonzero()[1])
        experience.routing_BTLK[row, place, 0, 0] = 3 - experience.routing_BTLK[row, place, 0, 0]
        experience.logp_sampler_BT[row, place:] += 1.0
        return experience

    stage._collected = other_experts
    run(stage, tmp_path, steps=1)
    (row,) = rows(tmp_path)
    assert 0 < row["sampling/logp_difference/max"] < 1e-4
    assert 0 < row["sampling/routing_disagreement"] < 0.05


def test_routers_agree_and_a_dense_network_has_none(tmp_path: Path) -> None:
    run(policy_stage(depth=1, minibatches=2), tmp_path / "moe", steps=2)
    assert [row["sampling/routing_disagreement"] for row in rows(tmp_path / "moe")] == [0.0, 0.0]
    run(policy_stage(moe=False), tmp_path / "dense", steps=1)
    assert "sampling/routing_disagreement" not in rows(tmp_path / "dense")[0]


@pytest.mark.parametrize("replay", [False, True])
def test_routing_replay_trains_with_the_experts_of_the_rollout(replay: bool, tmp_path: Path) -> None:
    stage = policy_stage(routing_replay=replay)
    collected = stage._collected

    def other_experts() -> Any:
        experience = collected()
        experience.routing_BTLK[:] = torch.tensor([1, 3], dtype=torch.int16)
        return experience

    stage._collected = other_experts
    run(stage, tmp_path, steps=1)
    ((_, load_E),) = stage.expert_load
    assert (load_E[0] == load_E[2] == 0) == replay
    (row,) = rows(tmp_path)
    assert (row["sampling/routing_disagreement"] == 0) == replay
