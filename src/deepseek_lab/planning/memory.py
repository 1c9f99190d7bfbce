"""Bytes that training holds on one device, by what they are for.

Weights and gradients stand in the parameters' dtype; what the optimiser keeps is its own affair.
What a forward pass keeps is counted on the built module (see `kept`); the loss adds its buffers.

The peak is the sum of the parts. They stand all at once where a step has several micro-batches; with a single one
gradients come as activations go, and the true peak is lower. Left out: what one operation needs for a moment,
buffers of communication, and what an allocator leaves unused.
"""

from dataclasses import dataclass
from typing import Any

import torch

from deepseek_lab.model.output import ModelOutput
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.balance import Balance, balance_losses
from deepseek_lab.objectives.next_token import rows_at_a_time
from deepseek_lab.planning.kept import FusedKernels, Kept, kept_for_backward
from deepseek_lab.planning.shapes_only import multiply_shapes_only

_FP32, _BF16 = 4, 2


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """One forward pass: `size` sequences of `seq_len` tokens on a `device_type`, `narrow` under autocast to bf16.

    repeated: whether a step has several of them, so that gradients stand beside activations.
    """

    size: int
    seq_len: int
    narrow: bool
    device_type: str
    isolate_documents: bool
    repeated: bool


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device. Weights include the copies in a narrower format that wait for the backward."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def peak(self) -> int:
        """All parts at once."""
        return self.weights + self.gradients + self.optimizer + self.activations


def memory(model: Transformer, balance: Balance, batch: MicroBatch, shards: int, state_bytes: int) -> Memory:
    """Memory of one device; `model` is built of fake tensors, inside whose mode this is called.

    shards: devices that divide weights, gradients and the optimiser's state among them (1: each holds all).
    state_bytes: what the optimiser keeps, over all parameters.
    """
    kept = kept_by(model, balance, batch)
    n_bytes = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    share = -(-n_bytes // shards)
    return Memory(
        weights=share + kept.weight_copies,
        gradients=share,
        optimizer=-(-state_bytes // shards),
        activations=kept.activations + loss_bytes(model, batch),
    )


def kept_by(model: Transformer, balance: Balance, batch: MicroBatch) -> Kept:
    """What the forward pass of a micro-batch and its balance losses keep for the backward."""
    ids_BT = torch.zeros(batch.size, batch.seq_len, dtype=torch.int64)
    document_BT = ids_BT if batch.isolate_documents else None

    def forward() -> Any:
        output = model(ids_BT, document_BT=document_BT, mtp=len(model.mtp) > 0)
        return output, _balance(output, balance)

    multiply_shapes_only(model)
    with FusedKernels(batch.device_type != "cpu"), torch.autocast("cpu", torch.bfloat16, enabled=batch.narrow):
        return kept_for_backward(forward, model.parameters())


def _balance(output: ModelOutput, balance: Balance) -> list[Any]:
    if not balance.has_losses:
        return []
    return [balance_losses(routing.affinity_BTE, routing.chosen_BTK, None, balance) for routing in output.routing]


def loss_bytes(model: Transformer, batch: MicroBatch) -> int:
    """What the chunked cross entropy holds beside the hidden states: their gradient, a chunk of logits, the head's.

    With MTP modules the states of all depths are joined first, which is a copy.
    """
    vocab_size, dim = model.head_weight_VD.shape
    depths = len(model.mtp)
    rows = batch.size * sum(batch.seq_len - depth for depth in range(depths + 1))
    chunk = min(rows, rows_at_a_time(vocab_size, batch.device_type))
    narrow = _BF16 * vocab_size * (chunk + dim) if batch.narrow else 0
    head_gradient = _FP32 * vocab_size * dim if batch.repeated else 0
    joined = _FP32 * rows * dim if depths else 0
    return _FP32 * (rows * dim + chunk * vocab_size) + joined + narrow + head_gradient
