"""The validation of a stage that learns a task: attempts at held-out questions, as pass@1 and pass@k.

Every validation draws with the same noise, so two of them differ by the policy alone. `val/loss`, by which sweeps rank
all stages, is the share of attempts that fail.
"""

from typing import Any

import torch

from deepseek_lab.objectives.pass_at_k import pass_at_k
from deepseek_lab.rollout.group import Group
from deepseek_lab.stages.loop.batches import StepBatch


class TaskAttempts:
    """The validation of a stage whose batches are sampled (`Validation` of the loop): one batch asks all questions."""

    def __init__(self, stage: Any, n_attempts: int) -> None:
        self._stage = stage
        self._n = n_attempts

    def start(self) -> None:
        """Nothing is summed over batches: there is one."""

    def add(self, batch: StepBatch) -> None:
        """Attempts at this rank's share of the questions; curves over those of all ranks."""
        stage, clock = self._stage, self._stage.rollout.clock
        before = clock.drawing, clock.judging
        groups = stage.rollout.evaluate(stage.model, self._n, stage.global_rank, stage.trainer.world_size)
        clock.drawing, clock.judging = before
        stage.records.scalars(self._figures(groups))
        # Counts for the run's mark; its curve has the point of this step already, from the iteration.
        stage.records.latest["sampling/timeouts"] = stage.rollout.gather_timeouts(stage.over_ranks, stage.device)

    def finish(self) -> None:
        """All is recorded already."""

    def _figures(self, groups: list[Group]) -> dict[str, float]:
        n, stage = self._n, self._stage
        cut = sum(one.finish_reason == "length" for group in groups for one in group.completions)
        length = sum(length for group in groups for length in group.lengths)
        passed = [[pass_at_k(n, group.n_right, k) for group in groups] for k in (1, n)]
        own = [float(len(groups)), *(sum(values) for values in passed), length / n, cut / n]
        total = stage.over_ranks(torch.tensor(own, dtype=torch.float64, device=stage.device)).tolist()
        count, first, several, length, cut = total
        name = f"eval/{stage.rollout.data.task.name}"
        return {
            f"{name}/pass@1": first / count,
            f"{name}/pass@{n}": several / count,
            f"{name}/mean_length": length / count,
            f"{name}/clipped_ratio": cut / count,
            "val/loss": 1 - first / count,
        }
