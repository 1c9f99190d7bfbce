"""Loss on held-out text, exact over batches and ranks: sums first, one division last.

Left out: any randomness, routing statistics (a validation must not move a router's bias) and MTP.

Shapes: B sequences, T positions, N = B·T, V vocabulary.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.masking import next_token_targets
from deepseek_lab.objectives.next_token import chunked_cross_entropy
from deepseek_lab.stages.base import Stage
from deepseek_lab.stages.batches import StepBatch


@torch.no_grad()
def held_out_sums(model: Transformer, micro: Any, token_bytes_V: Tensor, isolate_documents: bool) -> Tensor:
    """(3,) fp64 sums over the targets of one micro-batch: nats, targets, UTF-8 bytes."""
    targets_BT, valid_BT = next_token_targets(micro.tokens_BT1, micro.document_BT1, isolate_documents)
    document_BT = micro.document_BT1[:, :-1] if isolate_documents else None
    hidden_BTD = model(micro.tokens_BT1[:, :-1], document_BT=document_BT).hidden_BTD
    targets_N, valid_N = targets_BT.flatten(), valid_BT.flatten()
    _, nll_N = chunked_cross_entropy(hidden_BTD.flatten(0, 1), model.head_weight_VD, targets_N, valid_N.float())
    bytes_N = token_bytes_V[targets_N] * valid_N
    return torch.stack([nll_N.double().sum(), valid_N.sum().double(), bytes_N.sum().double()])


def held_out_metrics(sums: Tensor) -> dict[str, float]:
    """`held_out_sums`, added up, as val/loss (nats per token), val/perplexity and val/bits_per_byte."""
    nats, targets, n_bytes = sums.tolist()
    loss = nats / max(targets, 1)
    return {
        "val/loss": loss,
        "val/perplexity": math.exp(min(loss, 700.0)),
        "val/bits_per_byte": nats / math.log(2) / max(n_bytes, 1),
    }


def evaluate(
    model: Transformer, batches: Iterable[Any], token_bytes_V: Any, isolate_documents: bool = False
) -> dict[str, float]:
    """The same three numbers for a model outside of training; batches go to the model's device."""
    device = next(model.parameters()).device
    bytes_V = torch.as_tensor(token_bytes_V).to(device)
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    for micro in batches:
        sums += held_out_sums(model, micro.to(device), bytes_V, isolate_documents)
    return held_out_metrics(sums)


class HeldOutLoss(Stage):
    """A stage over packed text that is validated by its next-token loss."""

    model: Transformer
    token_bytes_V: Tensor

    def __init__(self, model: Transformer, data: Any, isolate_documents: bool = False, **loop: Any) -> None:
        """`data.token_bytes_V`: the UTF-8 bytes each token stands for. `loop`: what `Stage` takes."""
        super().__init__(model, data, **loop)
        self.isolate_documents = isolate_documents
        self.register_buffer("token_bytes_V", torch.as_tensor(data.token_bytes_V).long(), persistent=False)

    def on_validation_epoch_start(self) -> None:
        """Sums start at zero."""
        self._held_out = torch.zeros(3, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Adds one held-out micro-batch."""
        for micro in batch.micro_batches:
            self._held_out += held_out_sums(self.model, micro, self.token_bytes_V, self.isolate_documents)

    def on_validation_epoch_end(self) -> None:
        """One division over all batches and ranks."""
        self.record(held_out_metrics(self.over_ranks(self._held_out)))
