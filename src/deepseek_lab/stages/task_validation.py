"""The validation of a stage that learns a task: attempts at held-out questions, as pass@1 and pass@k.

Every validation draws with the same noise, so two of them differ by the policy alone. `val/loss`, by which sweeps rank
all stages, is the share of attempts that fail.
"""

import torch

from deepseek_lab.objectives.pass_at_k import pass_at_k
from deepseek_lab.rollout.engine import RolloutEngine
from deepseek_lab.rollout.group import Group
from deepseek_lab.stages.base import Stage
from deepseek_lab.stages.batches import EmptyBatches, StepBatch
from deepseek_lab.stages.on_policy_config import OnPolicyConfig


class TaskValidation(Stage):
    """Loaders of a stage whose batches are drawn, and its validation."""

    rollout: RolloutEngine
    config: OnPolicyConfig

    def train_dataloader(self) -> EmptyBatches:
        """One empty batch an iteration that is left."""
        return EmptyBatches(self.trainer.max_steps - self.steps_done)

    def val_dataloader(self) -> EmptyBatches:
        """One empty batch: all held-out questions are asked at once."""
        return EmptyBatches(1)

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Attempts at this rank's share of the questions; curves over those of all ranks."""
        clock = self.rollout.clock
        before = clock.drawing, clock.judging
        n, ranks = self.config.validation_samples, (self.global_rank, self.trainer.world_size)
        groups = self.rollout.evaluate(self.model, n, *ranks)
        clock.drawing, clock.judging = before
        self.record(self._figures(groups, n))
        # Counts for the run's mark; its curve has the point of this step already, from the iteration.
        self.latest["sampling/timeouts"] = self.rollout.gather_timeouts(self.over_ranks, self.device)

    def _figures(self, groups: list[Group], n: int) -> dict[str, float]:
        cut = sum(one.finish_reason == "length" for group in groups for one in group.completions)
        length = sum(length for group in groups for length in group.lengths)
        passed = [[pass_at_k(n, group.n_right, k) for group in groups] for k in (1, n)]
        own = [float(len(groups)), *(sum(values) for values in passed), length / n, cut / n]
        total = self.over_ranks(torch.tensor(own, dtype=torch.float64, device=self.device)).tolist()
        count, first, several, length, cut = total
        name = f"eval/{self.rollout.data.task.name}"
        return {
            f"{name}/pass@1": first / count,
            f"{name}/pass@{n}": several / count,
            f"{name}/mean_length": length / count,
            f"{name}/clipped_ratio": cut / count,
            "val/loss": 1 - first / count,
        }
