"""Supervised fine-tuning: pretraining's step on conversations, where only the assistant's tokens are targets.

    L = - Σ m log π(y) / Σ m + λ/D · Σ_k L_mtp,k + Σ_layers L_balance

Both sums are over the whole step, all micro-batches and ranks: cutting a step changes no gradient. Everything
else is pretraining's: the chunked loss, MTP, balance, the rule of the selection biases, held-out loss. Padding
counts in none of them.

Left out: the optimiser state of the run before; a new stage starts with a fresh one.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.data.conversation_packing import PADDING
from deepseek_lab.model.output import ModelOutput
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.acceptance import greedy_tokens
from deepseek_lab.objectives.balance import Balance
from deepseek_lab.stages.held_out import HeldOutLoss, token_targets
from deepseek_lab.stages.pretrain import EveryToken, PretrainStage, Targets
from deepseek_lab.stages.pretrain_config import PretrainConfig
from deepseek_lab.stages.sft_config import SftConfig


class AssistantTokens(EveryToken):
    """Which tokens of packed conversations are predicted: those that the assistant says."""

    def targets(self, micro: Any, n_depths: int) -> Targets:
        """As pretraining's, and of the MTP depths, too, only what the assistant says."""
        main, *deeper = super().targets(micro, n_depths)
        own = (micro.answer_BT1[:, depth + 1 :] for depth in range(1, n_depths + 1))
        return [main, *((targets, valid & said) for (targets, valid), said in zip(deeper, own, strict=True))]

    def inside(self, micro: Any, length: int) -> Tensor:
        """(B, length) bool: the inputs that have a token to predict in their own conversation.

        The others are padding, and last tokens, of which a full row has one less than a row with padding.
        """
        document_BT1 = micro.document_BT1
        own_BT = document_BT1[:, :length]
        inside_BT: Tensor = (own_BT == document_BT1[:, document_BT1.shape[1] - length :]) & (own_BT != PADDING)
        return inside_BT


class HeldOutConversations(HeldOutLoss):
    """Adds how many of the assistant's tokens are the model's first choice."""

    def start(self) -> None:
        """Sums start at zero."""
        super().start()
        self._right = torch.zeros(2, dtype=torch.float64, device=self._stage.device)

    def observe(self, output: ModelOutput, micro: Any, counted: bool) -> None:
        """Counts the assistant's held-out tokens that the model would have said."""
        targets_BT, valid_BT = token_targets(micro, isolate=True)
        greedy_N = greedy_tokens(output.hidden_BTD[valid_BT], output.head_weight_VD)
        right = (greedy_N == targets_BT[valid_BT]).sum()
        self._right += torch.stack([right, valid_BT.sum()]).double() * counted

    def finish(self) -> None:
        """One division over all batches and ranks."""
        super().finish()
        right, count = self._stage.over_ranks(self._right).tolist()
        self._stage.records.scalars({"sft/token_accuracy": right / max(count, 1)})


def as_pretraining(config: SftConfig, balance: Balance) -> tuple[PretrainConfig, Balance]:
    """The settings of pretraining's step: one weight of MTP throughout, selection biases frozen where asked."""
    weight = config.mtp_weight
    if config.router_bias == "frozen":
        balance = dataclasses.replace(balance, bias_update_speed=0.0)
    return PretrainConfig(name=config.name, mtp_weight=weight, mtp_late_weight=weight), balance


class SftStage(PretrainStage):
    """`SftConfig(...).build(model, data, …)`, then `Trainer.fit`."""

    def __init__(self, config: SftConfig, model: Transformer, data: Any, balance: Balance, **loop: Any) -> None:
        settings, balance = as_pretraining(config, balance)
        super().__init__(settings, model, data, balance, **{**loop, "isolate_documents": True})
        self.tokens = AssistantTokens(True, settings.mtp_within_documents)
        self.validation = HeldOutConversations(self)
