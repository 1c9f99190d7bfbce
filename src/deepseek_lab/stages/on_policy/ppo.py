"""Proximal policy optimisation of a language model: a critic says at each token what is still to be expected.

    r_t = 1[t = end]·R - β (log π_old - log π_ref),   Â by GAE from V,   L = L_clip + c_v·L_value     (InstructGPT §3.5)

The critic is a network of its own (`ValueModel`), started from the policy or from the reward model, and trained by the
same optimiser in parameter groups of its own; each network's gradients are clipped by themselves. Both stand in the
checkpoint, the critic under `critic.`.

Left out: an entropy bonus, a shared backbone.

Shapes: B answers, T positions.
"""

import copy
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.model.transformer import Transformer
from deepseek_lab.model.value_head import ValueModel
from deepseek_lab.objectives.advantages import generalised_advantages, rewards_with_kl, whitened
from deepseek_lab.objectives.kl import kl_estimate
from deepseek_lab.objectives.policy_gradient import value_loss
from deepseek_lab.objectives.policy_loss import PolicyLoss
from deepseek_lab.precision.applying import apply
from deepseek_lab.rollout.engine import RolloutEngine
from deepseek_lab.rollout.experience import Experience
from deepseek_lab.stages.loop.clipping import clip_gradients
from deepseek_lab.stages.on_policy.answers import ADVANTAGE, OLD, REFERENCE, SAMPLER, WEIGHT, Answers, placed
from deepseek_lab.stages.on_policy.curves import shares
from deepseek_lab.stages.on_policy.stage import OnPolicyStage
from deepseek_lab.stages.on_policy_config import PpoConfig

VALUE, RETURN = "value", "return"
"""Columns: what the critic expected before the updates, and what came."""


class PpoStage(OnPolicyStage):
    """`PpoConfig(...).build(model, data, …)`, then `Trainer.fit`."""

    config: PpoConfig

    def __init__(
        self, config: PpoConfig, model: Transformer, rollout: RolloutEngine, balance: Any, **loop: Any
    ) -> None:
        super().__init__(config, model, rollout, balance, **loop)
        self.critic = _critic(config, model, rollout)

    @property
    def needs_reference(self) -> bool:
        """For the KL in the reward."""
        return self.config.reference_weight > 0 or super().needs_reference

    @property
    def needs_old_pass(self) -> bool:
        """The KL in the reward is π_old's."""
        return True

    def counted(self, experience: Experience) -> Tensor:
        """Without the answers that nobody could judge: there is no group to make up for them."""
        return super().counted(experience) & ~_score(self.policy_loss, experience).isnan()[:, None]

    def columns(self, experience: Experience, answers: Answers) -> dict[str, Tensor]:
        """Advantages, returns, and the critic's values before the updates."""
        mask_BT, config = experience.mask_BT, self.config
        value_BT = self._values_of(answers)
        rewards_BT = self._rewards(experience, answers).to(value_BT.dtype)
        advantage_BT, return_BT = generalised_advantages(rewards_BT, value_BT, mask_BT, config.discount, config.decay)
        counted_BT = self.counted(experience)
        if config.whiten:
            advantage_BT = whitened(advantage_BT, counted_BT, over_ranks=self.over_ranks)
        self.curves.add_update(_fit(value_BT[counted_BT], return_BT[counted_BT], self.trainer.world_size))
        return {ADVANTAGE: advantage_BT, RETURN: return_BT, VALUE: value_BT}

    def _rewards(self, experience: Experience, answers: Answers) -> Tensor:
        """(B, T) reward of each token."""
        score_B = _score(self.policy_loss, experience).nan_to_num()
        kl_BT = torch.zeros_like(answers.columns[OLD])
        if self.config.reference_weight:
            kl_BT = kl_estimate(answers.columns[OLD], answers.columns[REFERENCE], "k1")
        return rewards_with_kl(score_B, kl_BT, experience.mask_BT, self.config.reference_weight)

    @torch.no_grad()
    def _values_of(self, answers: Answers) -> Tensor:
        """(B, T) the critic's values of all answers."""
        passes = answers.cut(self.config.micro_tokens)
        return placed(answers, ((micro, self.critic(micro.tokens_BT1[:, :-1])[0]) for micro in passes))

    def objective(
        self, micro: Answers, logp_BT: Tensor, old_BT: Tensor, totals: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `OnPolicyStage.objective`."""
        columns, weights = micro.columns, (micro.mask_BT, micro.columns[WEIGHT])
        others = (columns.get(REFERENCE), columns[SAMPLER])
        policy, metrics = self.policy_loss.loss(logp_BT, old_BT, columns[ADVANTAGE], *weights, *others)
        value_BT, _ = self.critic(micro.tokens_BT1[:, :-1])
        weight_BT = columns[WEIGHT].to(value_BT.dtype)
        value, of_values = value_loss(value_BT, columns[VALUE], columns[RETURN], weight_BT, self.config.value_clip)
        parts = shares({**metrics, **of_values}, micro, totals[0])
        return policy + self.config.value_weight * value, {**parts, "policy/loss": policy, "value/loss": value}

    # Two networks

    def clip(self) -> Tensor:
        """Each network by itself; the norm is the policy's, and no number where the critic's is none."""
        norm = super().clip()
        return norm + 0 * clip_gradients(self.critic, self.optimizer_config.max_grad_norm, self.over_ranks)

    def configure_model(self) -> None:
        """The critic computes in the policy's precision."""
        super().configure_model()
        apply(self.critic, self.precision, self.trainer.strategy.root_device.type)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimiser: the policy's groups, then the critic's at their own rate."""
        optimizer = super().configure_optimizers()
        for group in self.optimizer_config.build(self.critic).param_groups:
            rate = group["lr"] * self.config.critic_lr_factor
            optimizer.add_param_group({**group, "lr": rate, "initial_lr": rate})
        return optimizer


def _critic(config: PpoConfig, model: Transformer, rollout: RolloutEngine) -> ValueModel:
    """A network whose language head and MTP modules rest."""
    if config.critic == "reward_model" and rollout.reward_model is not None:
        critic = copy.deepcopy(rollout.reward_model.model).requires_grad_(True).train()
    else:
        critic = ValueModel.around(copy.deepcopy(model))
    critic.backbone.mtp.requires_grad_(False)
    if not critic.backbone.config.tie_embeddings:
        critic.backbone.head.requires_grad_(False)
    return critic


def _score(loss: PolicyLoss, experience: Experience) -> Tensor:
    """(B,) the reward of each whole answer; NaN where nobody could tell."""
    form = 0.0 if experience.format_B is None else experience.format_B
    return experience.answer_B + form + loss.length_penalty(experience.length_B, experience.longest)


def _fit(value_N: Tensor, return_N: Tensor, n_ranks: int) -> dict[str, Tensor]:
    """How well the critic foresaw the returns; curves of one rank each."""
    spread, left = (values_N.var(correction=0) for values_N in (return_N, return_N - value_N))
    explained = torch.where(spread > 0, 1 - left / spread, 0.0)
    return {"value/mean": value_N.mean() / n_ranks, "value/explained_variance": explained / n_ranks}
