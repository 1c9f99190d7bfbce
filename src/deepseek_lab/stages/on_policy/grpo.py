"""Group relative policy optimisation (DeepSeekMath §4.1) and its relatives: no critic, the group is the baseline.

    L = -Σ_{i,t} w_{i,t} { min(ρÂ, clip(ρ)Â) - β·KL_{i,t} }

Which weights, clips, ratios, advantages and KL, the preset says (`loss=`, conf/loss/). Outcome supervision gives every
token of an answer the advantage of its reward; process supervision gives each the sum of the normalised rewards of the
steps that end at it or later, and then neither form nor length is rewarded beside them.

Shapes: B answers, T positions.
"""

import torch
from torch import Tensor

from deepseek_lab.config import ConfigError
from deepseek_lab.objectives.advantages import process_advantages
from deepseek_lab.rollout.experience import Experience
from deepseek_lab.stages.on_policy.answers import ADVANTAGE, REFERENCE, SAMPLER, WEIGHT, Answers
from deepseek_lab.stages.on_policy.curves import shares
from deepseek_lab.stages.on_policy.stage import OnPolicyStage
from deepseek_lab.stages.on_policy_config import GrpoConfig

_PAYS, _PAYS_ON_THREADS = 0.9, 0.6
"""The share of the tokens, filling included, up to which reading prompts once is the quicker way. On one thread, with
8 answers of 64 tokens to prompts of 16 (0.82) an update takes 0.81 of the time, with prompts of 128 (0.42) half of it.
Several threads wait for each other in its small products: on two a step takes 1.35 times as long with prompts of 16,
0.57 as long with prompts of 128."""


class GrpoStage(OnPolicyStage):
    """`GrpoConfig(...).build(model, data, …)`, then `Trainer.fit`."""

    config: GrpoConfig

    def columns(self, experience: Experience, answers: Answers) -> dict[str, Tensor]:
        """Advantages alone."""
        process = self.policy_loss.supervision == "process"
        advantage_BT = self._of_steps(experience) if process else self._of_outcomes(experience)
        return {ADVANTAGE: advantage_BT * experience.mask_BT}

    def passes(self, answers: Answers) -> list[Answers]:
        """With or without prompts that are read once; see `GrpoConfig`."""
        if self._shares_prompts(answers):
            return answers.cut_by_prompt(self.config.micro_tokens)
        return super().passes(answers)

    def _shares_prompts(self, answers: Answers) -> bool:
        """`auto`: where it was measured to pay: in full precision on a CPU, and not with MTP modules."""
        how, weight = self.config.share_prompt, self.model.embedding.weight
        if how != "auto":
            return how == "always"
        wide = weight.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
        fits = weight.device.type == "cpu" and wide and not self.config.mtp_weight
        pays = _PAYS if torch.get_num_threads() == 1 else _PAYS_ON_THREADS
        return fits and answers.n_shared <= pays * answers.n_filled(self.config.micro_tokens)

    def _of_outcomes(self, experience: Experience) -> Tensor:
        loss = self.policy_loss
        answer_B = experience.answer_B + loss.length_penalty(experience.length_B, experience.longest)
        advantage_B = loss.advantages(answer_B, experience.format_B, experience.group_size)
        return advantage_B[:, None].expand(experience.mask_BT.shape)

    def _of_steps(self, experience: Experience) -> Tensor:
        """Raises ConfigError for a task that rewards no steps."""
        if experience.step_reward_BS.shape[1] == 0:
            raise ConfigError("= process needs rewards of steps, and the task gives none", "loss.supervision")
        width, scale = experience.mask_BT.shape[1], self.policy_loss.advantage_scale
        steps = (experience.step_reward_BS, experience.step_end_BS)
        return process_advantages(*steps, width, experience.group_size, scale)

    def objective(
        self, micro: Answers, logp_BT: Tensor, old_BT: Tensor, totals: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `OnPolicyStage.objective`."""
        loss, metrics = self.policy_loss.loss(
            logp_BT,
            old_BT,
            micro.columns[ADVANTAGE].to(logp_BT.dtype),
            micro.mask_BT,
            micro.columns[WEIGHT],
            micro.columns.get(REFERENCE),
            micro.columns[SAMPLER],
        )
        return loss, {**shares(metrics, micro, totals[0]), "policy/loss": loss}
