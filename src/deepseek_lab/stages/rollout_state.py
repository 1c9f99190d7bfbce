"""What an on-policy stage keeps between iterations beside weights: the rollouts' state, and a frozen reference."""

from typing import Any

from torch import nn

from deepseek_lab.precision.applying import apply
from deepseek_lab.rollout.reward_model import PART
from deepseek_lab.stages.reference import Reference
from deepseek_lab.stages.task_validation import TaskValidation


class RolloutState(TaskValidation):
    """Puts both into the checkpoint and takes them back."""

    reference: Reference | None
    tokens_drawn: int = 0

    @property
    def companions(self) -> dict[str, nn.Module]:
        """The reward model, which decides the rewards."""
        judge = self.rollout.reward_model
        return {} if judge is None else {PART: judge.model}

    def on_fit_start(self) -> None:
        """The reward model follows the policy to its device."""
        self.rollout.to(self.device)

    def configure_model(self) -> None:
        """The reference computes in the policy's precision, or their ratio would not start at 1."""
        super().configure_model()
        if self.reference is not None:
            apply(self.reference.model, self.precision, self.trainer.strategy.root_device.type)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the state of the rollouts."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["run"] |= {"rollout": self.rollout.state_dict(), "tokens_drawn": self.tokens_drawn}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it back."""
        super().on_load_checkpoint(checkpoint)
        self.rollout.load_state_dict(checkpoint["run"]["rollout"])
        self.tokens_drawn = checkpoint["run"]["tokens_drawn"]
