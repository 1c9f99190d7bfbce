"""Loss on held-out text, exact over batches and ranks: sums first, one division last.

MTP modules are judged by how often they draft what the main model would choose. Of a mixture each corpus has
its bits per byte apart: a mean over code and prose hides which of them a change has helped. Left out: any
randomness, routing statistics (a validation must not move a router's bias), and the losses of the MTP modules.

Shapes: B sequences, T positions, N = B·T, D width, V vocabulary, S corpora of a mixture (0 when there is one).
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.model.output import ModelOutput
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.acceptance import draft_agreement, greedy_tokens
from deepseek_lab.objectives.masking import answer_targets, next_token_targets
from deepseek_lab.objectives.mtp import mtp_targets
from deepseek_lab.objectives.next_token import chunked_cross_entropy
from deepseek_lab.stages.loop.batches import StepBatch


def token_targets(micro: Any, isolate: bool) -> tuple[Tensor, Tensor]:
    """The main model's target of each position and whether it counts: of conversations, what the assistant says."""
    if hasattr(micro, "answer_BT1"):
        return answer_targets(micro.tokens_BT1, micro.answer_BT1, micro.document_BT1)
    return next_token_targets(micro.tokens_BT1, micro.document_BT1, isolate)


@torch.no_grad()
def held_out_output(model: Transformer, micro: Any, isolate_documents: bool) -> ModelOutput:
    """What the network says of one held-out micro-batch, MTP modules included."""
    document_BT = micro.document_BT1[:, :-1] if isolate_documents else None
    output: ModelOutput = model(micro.tokens_BT1[:, :-1], document_BT=document_BT, mtp=len(model.mtp) > 0)
    return output


@torch.no_grad()
def held_out_sums(
    model: Transformer,
    output: ModelOutput,
    micro: Any,
    token_bytes_V: Tensor,
    isolate_documents: bool,
    n_sources: int = 0,
) -> Tensor:
    """fp64 sums over one micro-batch: nats, targets, UTF-8 bytes; for each MTP depth, drafts agreed and drafts;
    for each of `n_sources` corpora nats, then for each bytes.
    """
    targets_BT, valid_BT = token_targets(micro, isolate_documents)
    targets_N, valid_N = targets_BT.flatten(), valid_BT.flatten()
    hidden_ND = output.hidden_BTD.flatten(0, 1)
    _, nll_N = chunked_cross_entropy(hidden_ND, model.head_weight_VD, targets_N, valid_N.float())
    bytes_N = token_bytes_V[targets_N] * valid_N
    losses = torch.stack([nll_N.double().sum(), valid_N.sum().double(), bytes_N.sum().double()])
    own = [_by_source(values_N, micro.source_B, n_sources) for values_N in (nll_N, bytes_N)] if n_sources else []
    return torch.cat([losses, *_draft_sums(output, micro), *own])


def _by_source(values_N: Tensor, source_B: Tensor, n_sources: int) -> Tensor:
    """(S,) the sum over the sequences of each corpus."""
    sums_B = values_N.double().view(len(source_B), -1).sum(1)
    return sums_B.new_zeros(n_sources).index_add_(0, source_B, sums_B)


def _draft_sums(output: ModelOutput, micro: Any) -> list[Tensor]:
    """`draft_agreement` of each depth, over the drafts within a document."""
    if not output.mtp_hidden:
        return []
    choices = [
        greedy_tokens(hidden.flatten(0, 1), output.head_weight_VD).view(hidden.shape[:2])
        for hidden in (output.hidden_BTD, *output.mtp_hidden)
    ]
    valid = [mtp_targets(micro.tokens_BT1, micro.document_BT1, k, True)[1] for k in range(1, len(choices))]
    return [draft_agreement(choices[0], *draft) for draft in zip(choices[1:], valid, strict=True)]


def held_out_metrics(sums: Tensor, source_names: Sequence[str] = ()) -> dict[str, float]:
    """`held_out_sums`, added up, as val/* (nats per token, perplexity, bits per byte) and mtp/acceptance_*.

    A corpus of which nothing was validated has no bits per byte.
    """
    all_of_it, own = sums.tensor_split([len(sums) - 2 * len(source_names)])
    nats, targets, n_bytes, *drafts = all_of_it.tolist()
    loss = nats / max(targets, 1)
    each = zip(source_names, *own.view(2, -1).tolist(), strict=True)
    accepted = zip(drafts[::2], drafts[1::2], strict=True)
    return {
        "val/loss": loss,
        "val/perplexity": math.exp(min(loss, 700.0)),
        "val/bits_per_byte": nats / math.log(2) / max(n_bytes, 1),
        **{f"val/{name}/bits_per_byte": nats / math.log(2) / size for name, nats, size in each if size},
        **{f"mtp/acceptance_{k}": agreed / max(count, 1) for k, (agreed, count) in enumerate(accepted, start=1)},
    }


def _no_sums(model: Transformer, n_sources: int) -> Tensor:
    """Zeros to add `held_out_sums` to."""
    n_sums = 3 + 2 * len(model.mtp) + 2 * n_sources
    return torch.zeros(n_sums, dtype=torch.float64, device=model.head_weight_VD.device)


def evaluate(
    model: Transformer,
    batches: Iterable[Any],
    token_bytes_V: Any,
    isolate_documents: bool = False,
    source_names: Sequence[str] = (),
) -> dict[str, float]:
    """The same numbers for a model outside of training; batches go to the model's device."""
    device = next(model.parameters()).device
    bytes_V = torch.as_tensor(token_bytes_V).to(device)
    sums = _no_sums(model, len(source_names))
    for micro in batches:
        micro = micro.to(device)
        output = held_out_output(model, micro, isolate_documents)
        sums += held_out_sums(model, output, micro, bytes_V, isolate_documents, len(source_names))
    return held_out_metrics(sums, source_names)


class HeldOutLoss:
    """The validation of a stage over packed text: its loss on the next token (`Validation` of the loop).

    The stage has `model`, `token_bytes_V` (the UTF-8 bytes each token stands for) and `isolate_documents`;
    its data may have `source_names`, the corpora of a mixture.
    """

    def __init__(self, stage: Any) -> None:
        self._stage = stage
        self.source_names: Sequence[str] = getattr(stage.data, "source_names", ())

    def start(self) -> None:
        """Sums start at zero."""
        self._sums = _no_sums(self._stage.model, len(self.source_names))

    def add(self, batch: StepBatch) -> None:
        """Adds one held-out batch."""
        stage = self._stage
        for micro in batch.micro_batches:
            output = held_out_output(stage.model, micro, stage.isolate_documents)
            how = (stage.token_bytes_V, stage.isolate_documents, len(self.source_names))
            self._sums += held_out_sums(stage.model, output, micro, *how) * batch.counted
            self.observe(output, micro, batch.counted)

    def observe(self, output: ModelOutput, micro: Any, counted: bool) -> None:
        """What else is counted of a held-out micro-batch; nothing for plain text."""

    def finish(self) -> None:
        """One division over all batches and ranks."""
        self._stage.records.scalars(held_out_metrics(self._stage.over_ranks(self._sums), self.source_names))
