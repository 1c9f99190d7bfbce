"""What stages share that learn from pairs of answers: the mean over the step's pairs, and the held-out figures.

Both answers of a pair run in one forward. A row holds one conversation from its first place on, so the plain
causal mask keeps padding away and none is built. Routers keep their selection biases: two answers are compared
by one and the same choice of experts. MTP modules do not run.

Left out: balance losses. A few hundred steps at a small rate move the load little; the curve would say so.

Shapes: P pairs, 2 the chosen and the rejected answer, T positions, T1 = T + 1 tokens.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.stages.loop.batches import StepBatch
from deepseek_lab.stages.loop.stage import Stage

HELD_OUT = ("rewards/accuracies", "rewards/margins")
"""Metrics of `pair_losses` that validation records, too."""


class HeldOutPairs:
    """The validation of a stage that learns from pairs: means of its loss and of the metrics in HELD_OUT."""

    def __init__(self, stage: "PairStage") -> None:
        self._stage = stage

    def start(self) -> None:
        """Sums start at zero."""
        self._sums = torch.zeros(2 + len(HELD_OUT), dtype=torch.float64, device=self._stage.device)

    def add(self, batch: StepBatch) -> None:
        """Adds one held-out batch."""
        for micro in batch.micro_batches:
            loss_P, metrics = self._stage.pair_losses(micro)
            sums = [loss_P, *(metrics[name] for name in HELD_OUT), torch.ones_like(loss_P)]
            self._sums += torch.stack(sums).double().sum(1) * batch.counted

    def finish(self) -> None:
        """One division over all batches and ranks."""
        *sums, count = self._stage.over_ranks(self._sums).tolist()
        names = ("val/loss", *(f"val/{name}" for name in HELD_OUT))
        self._stage.records.scalars({name: value / max(count, 1) for name, value in zip(names, sums, strict=True)})


class PairStage(Stage):
    """Subclasses give `pair_losses`."""

    data: Any

    def __init__(self, model: Any, data: Any, isolate_documents: bool = True, **loop: Any) -> None:
        """`isolate_documents`: always so here. `loop`: what `Stage` takes."""
        super().__init__(model, data, **loop)
        self.validation = HeldOutPairs(self)
        self.expert_load: list[tuple[int, Tensor]] = []

    @abstractmethod
    def pair_losses(self, micro: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """(P,) losses and (P,) metrics by their names in metrics.py."""

    @property
    def modules_rest(self) -> bool:
        """MTP modules and, of a reward model, the output head."""
        return True

    def counts(self, micro: Any) -> Tensor:
        """The answers' tokens, then pairs."""
        return torch.stack([micro.answer_P2T1.sum(), micro.number_P.new_full((), len(micro.number_P))])

    def micro_loss(self, micro: Any, totals: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Stage.micro_loss`."""
        loss_P, metrics = self.pair_losses(micro)
        return loss_P.sum() / totals[1], {name: value_P.sum() / totals[1] for name, value_P in metrics.items()}
