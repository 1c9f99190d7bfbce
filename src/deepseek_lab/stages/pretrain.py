"""Pretraining: next token, multi-token prediction and balance on packed text.

    L = L_next + λ/D · Σ_k L_mtp,k + Σ_layers L_balance      (DeepSeek-V3 §2.1.2, §2.2)

Main and MTP losses go through one chunked call, because they share the head. After the optimiser's step
the routers' selection biases move by V3's rule, from the load of the whole global batch.

Left out: the loop itself (loop/) and every formula (objectives/).

Shapes: B sequences, T positions, D width, N rows, V vocabulary, E experts.
"""

import math
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.model.output import ModelOutput, RoutingStatistics
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.balance import Balance, balance_losses
from deepseek_lab.objectives.mtp import depth_weight, mtp_loss_weight, mtp_targets
from deepseek_lab.objectives.next_token import chunked_cross_entropy
from deepseek_lab.stages.expert_loads import ExpertLoads, move_biases
from deepseek_lab.stages.held_out import HeldOutLoss, token_targets
from deepseek_lab.stages.loop.stage import Stage
from deepseek_lab.stages.pretrain_config import PretrainConfig

Targets = list[tuple[Tensor, Tensor]]
"""(B, T) target tokens and whether they count: of the main loss, then of each depth of MTP."""


class EveryToken:
    """Which tokens of packed text are predicted: all of them."""

    def __init__(self, isolate_documents: bool, mtp_within_documents: bool) -> None:
        self.isolate_documents = isolate_documents
        self.mtp_within_documents = mtp_within_documents

    def targets(self, micro: Any, n_depths: int) -> Targets:
        """Targets of the next token, and of the token k further on for each depth k."""
        deeper = (
            mtp_targets(micro.tokens_BT1, micro.document_BT1, k, self.mtp_within_documents)
            for k in range(1, n_depths + 1)
        )
        return [token_targets(micro, self.isolate_documents), *deeper]

    def inside(self, micro: Any, length: int) -> Tensor | None:
        """(B, length) bool: the inputs of a layer that balance counts; None: all, packed text has no padding."""
        return None


class PretrainStage(Stage):
    """`PretrainStage.Config(...).build(model, data, …)`, then `Trainer.fit`."""

    Config = PretrainConfig

    model: Transformer
    token_bytes_V: Tensor

    def __init__(
        self,
        config: PretrainConfig,
        model: Transformer,
        data: Any,
        balance: Balance,
        isolate_documents: bool = False,
        **loop: Any,
    ) -> None:
        """`data.token_bytes_V`: the UTF-8 bytes each token stands for. `loop`: what `Stage` takes."""
        super().__init__(model, data, **loop)
        self.config = config
        self.balance = balance
        self.isolate_documents = isolate_documents
        self.tokens: Any = EveryToken(isolate_documents, config.mtp_within_documents)
        self.validation = HeldOutLoss(self)
        self.register_buffer("token_bytes_V", torch.as_tensor(data.token_bytes_V).long(), persistent=False)
        self.expert_load: list[tuple[int, Tensor]] = []
        """Layer and (E,) load of each router in the last step, over all micro-batches and ranks."""
        self._loads = ExpertLoads()

    def mtp_weight_at(self, step: int) -> float:
        """λ of a step counted from 0; 0 without MTP modules."""
        c = self.config
        weight = mtp_loss_weight(step, self.trainer.max_steps, c.mtp_weight, c.mtp_late_weight, c.mtp_late_from)
        return weight if len(self.model.mtp) else 0.0

    @property
    def modules_rest(self) -> bool:
        """MTP modules do not run where λ is 0."""
        return len(self.model.mtp) > 0 and 0.0 in (self.config.mtp_weight, self.config.mtp_late_weight)

    def _targets(self, micro: Any) -> Targets:
        targets: Targets = self.tokens.targets(micro, len(self.model.mtp))
        return targets

    def counts(self, micro: Any) -> Tensor:
        """Targets of the main loss and of each depth, then sequences."""
        n_sequences = micro.tokens_BT1.new_full((), micro.tokens_BT1.shape[0])  # no copy from the host
        return torch.stack([*(valid.sum() for _, valid in self._targets(micro)), n_sequences])

    def micro_loss(self, micro: Any, totals: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Stage.micro_loss`."""
        document_BT = micro.document_BT1[:, :-1] if self.isolate_documents else None
        weight = self.mtp_weight_at(self.steps_done)
        output = self.model(micro.tokens_BT1[:, :-1], document_BT=document_BT, mtp=weight > 0)
        loss, parts = self._token_losses(output, micro, totals, weight)
        if output.routing:
            balance_loss = self._balance_loss(output.routing, micro, totals)
            if self.balance.has_losses:
                loss, parts["train/balance_loss"] = loss + balance_loss, balance_loss
        return loss, parts

    def _token_losses(
        self, output: ModelOutput, micro: Any, totals: Tensor, mtp_weight: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum of all cross-entropies, and the mean of each."""
        hidden, n_depths = [output.hidden_BTD, *output.mtp_hidden], len(output.mtp_hidden)
        weights = [1.0] + [depth_weight(mtp_weight, n_depths)] * n_depths
        names = ["train/loss_next_token"] + [f"train/loss_mtp_{k + 1}" for k in range(n_depths)]
        targets = self._targets(micro)[: n_depths + 1]
        rows = [w * (valid / total).flatten() for w, (_, valid), total in zip(weights, targets, totals, strict=False)]
        loss, nll_N = chunked_cross_entropy(
            torch.cat([h.flatten(0, 1) for h in hidden]) if n_depths else output.hidden_BTD.flatten(0, 1),
            self.model.head_weight_VD,
            torch.cat([t.flatten() for t, _ in targets]),
            torch.cat(rows),
        )
        nats = nll_N.split([row.shape[0] for row in rows])
        parts = {name: n.sum() / total for name, n, total in zip(names, nats, totals, strict=False)}
        target_bytes = self.token_bytes_V[targets[0][0]] * targets[0][1]
        return loss, {**parts, "bytes_per_target": target_bytes.sum() / totals[0]}

    def _balance_loss(self, routing: list[RoutingStatistics], micro: Any, totals: Tensor) -> Tensor:
        """The auxiliary losses of all layers times this micro-batch's share of the step; counts the load."""
        total = torch.zeros((), device=totals.device)
        for statistics in routing:
            valid_BT = self.tokens.inside(micro, statistics.chosen_BTK.shape[1])
            loss, _ = balance_losses(statistics.affinity_BTE, statistics.chosen_BTK, valid_BT, self.balance)
            total = total + loss
            self._loads.add([statistics], valid_BT)
        share: Tensor = micro.tokens_BT1.shape[0] / totals[-1]
        return total * share

    def after_step(self) -> None:
        """Moves the selection biases by the load of the global batch (V3 §2.1.2)."""
        self.expert_load = self._loads.taken(self.over_ranks)
        speed = self.balance.bias_speed(self.steps_done, self.trainer.max_steps)
        move_biases(self.model.routers(), self.expert_load, speed)

    def finish_means(self, means: dict[str, float]) -> dict[str, float]:
        """Adds bits per byte and λ."""
        n_bytes = means.pop("bytes_per_target")
        means["train/bits_per_byte"] = means["train/loss_next_token"] / math.log(2) / max(n_bytes, 1e-9)
        return {**means, "train/mtp_weight": self.mtp_weight_at(self.steps_done - 1)} if len(self.model.mtp) else means
