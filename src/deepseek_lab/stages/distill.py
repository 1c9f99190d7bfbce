"""Distillation: supervised fine-tuning where a teacher says how likely every other token would have been, too.

    L = w·τ²·D(teacher ‖ student) + (1-w)·(L_next + λ/D · Σ_k L_mtp,k) + Σ_layers L_balance

Only the assistant's tokens count. The teacher is frozen, no part of the checkpoint, and named in the run's identity
by its weights: a run never goes on with another teacher. Imitating a teacher's answers alone (sequence distillation,
DeepSeek-R1 §2.4) is stage=sft on those answers.

Shapes: B sequences, T positions, N counted positions, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn

from deepseek_lab.model.output import ModelOutput
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.distillation import logit_distillation_loss
from deepseek_lab.stages.distill_config import DistillConfig
from deepseek_lab.stages.held_out import token_targets
from deepseek_lab.stages.pretrain import PretrainStage
from deepseek_lab.stages.sft import AssistantTokens, HeldOutConversations, as_pretraining


class DistillStage(PretrainStage):
    """`DistillConfig(...).build(model, data, …)`, then `Trainer.fit`."""

    def __init__(
        self, config: DistillConfig, model: Transformer, data: Any, balance: Any, teacher: Transformer, **loop: Any
    ) -> None:
        settings, balance = as_pretraining(config, balance)
        super().__init__(settings, model, data, balance, **{**loop, "isolate_documents": True})
        self.tokens = AssistantTokens(True, settings.mtp_within_documents)
        self.validation = HeldOutConversations(self)
        self.distillation = config
        # Not a submodule: neither trained nor sharded nor part of the checkpoint.
        self._teacher = (teacher.eval().requires_grad_(False),)

    @property
    def companions(self) -> dict[str, nn.Module]:
        """The teacher."""
        return {"teacher": self._teacher[0]}

    def on_fit_start(self) -> None:
        """The teacher follows the student to its device."""
        self._teacher[0].to(self.device)

    def _token_losses(
        self, output: ModelOutput, micro: Any, totals: Tensor, mtp_weight: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses of supervised fine-tuning and the divergence, weighed."""
        hard, parts = super()._token_losses(output, micro, totals, mtp_weight)
        soft, weight = self._divergence(output, micro, totals[0]), self.distillation.soft_weight
        return weight * soft + (1 - weight) * hard, {**parts, "train/divergence": soft}

    def _divergence(self, output: ModelOutput, micro: Any, n_targets: Tensor) -> Tensor:
        """This micro-batch's share of τ²·D, from the logits of the counted positions alone."""
        _, valid_BT = token_targets(micro, isolate=True)
        with torch.no_grad():
            theirs = self._teacher[0](micro.tokens_BT1[:, :-1], document_BT=micro.document_BT1[:, :-1])
        student_NV, teacher_NV = (_wide(one.hidden_BTD[valid_BT] @ one.head_weight_VD.T) for one in (output, theirs))
        loss, _ = logit_distillation_loss(
            student_NV,
            teacher_NV,
            valid_BT[valid_BT],
            n_targets,
            self.distillation.divergence,
            self.distillation.temperature,
        )
        return loss


def _wide(logits: Tensor) -> Tensor:
    """At least fp32: a softmax over a vocabulary in bf16 loses its small probabilities."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
