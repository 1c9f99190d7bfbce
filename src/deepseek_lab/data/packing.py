"""Packing: fixed-length samples cut from documents laid end to end (GPT-3 §B; DeepSeek-V3 §4.1).

Sample i is tokens [iT, iT + T + 1): neighbours share one token, so every token but the first is predicted
exactly once. No padding and no truncation; a document that crosses a cut goes on in the next sample.
Every token carries the number of its document, so that attention and loss can be kept inside documents
(or not: V3 pretrains without such a mask). The order of an epoch is a permutation that (seed, epoch)
alone decide, so training can go on at any step without replaying what came before.

Left out: best-fit packing (fewer cut documents, at the price of an order that depends on lengths).

Shapes: B sequences, T predicted tokens of each; T1 = T + 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.data.token_files import TokenSplit

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass sees: tokens, and for each the document it belongs to (equal in a row = same document).

    `source_B` is the number of the corpus that each sequence is from; 0 when there is one.
    """

    tokens_BT1: "Tensor"
    document_BT1: "Tensor"
    source_B: "Tensor"

    def to(self, device: "torch.device | str") -> "MicroBatch":
        """The same batch on `device`."""
        return MicroBatch(*(tensor.to(device, non_blocking=True) for tensor in self._tensors()))

    def cut(self, size: int) -> list["MicroBatch"]:
        """The sequences in order, at most `size` at a time."""
        return [MicroBatch(*parts) for parts in zip(*(tensor.split(size) for tensor in self._tensors()), strict=True)]

    def _tensors(self) -> "tuple[Tensor, Tensor, Tensor]":
        return self.tokens_BT1, self.document_BT1, self.source_B


def interleave(parts: Sequence[MicroBatch], source_B: NDArray[np.int64]) -> MicroBatch:
    """One batch whose sequence b is the next of `parts[source_B[b]]`."""
    import torch

    placed_B = torch.from_numpy(np.argsort(source_B, kind="stable"))
    back_B = torch.empty_like(placed_B)
    back_B[placed_B] = torch.arange(len(placed_B))
    return MicroBatch(
        torch.cat([part.tokens_BT1 for part in parts])[back_B],
        torch.cat([part.document_BT1 for part in parts])[back_B],
        torch.from_numpy(source_B),
    )


@lru_cache(maxsize=16)  # a step may straddle two epochs of each source
def epoch_order(seed: int, epoch: int, n_samples: int) -> NDArray[np.int64]:
    """(n_samples,) the samples in the order of one epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(n_samples)
    order.setflags(write=False)
    return order


def shuffled_samples(first: int, count: int, seed: int, n_samples: int) -> NDArray[np.int64]:
    """(count,) the samples number `first`, `first + 1`, … of endless epochs, each a permutation of its own."""
    numbers = np.arange(first, first + count)
    epochs = numbers // n_samples
    return np.concatenate(
        [
            epoch_order(seed, int(epoch), n_samples)[numbers[epochs == epoch] % n_samples]
            for epoch in range(first // n_samples, (first + count - 1) // n_samples + 1)
        ]
    )


class PackedSplit:
    """A split cut into samples of `seq_len` + 1 tokens."""

    def __init__(self, split: TokenSplit, seq_len: int) -> None:
        self.tokens: NDArray[Any] = split.tokens
        self.offsets = split.offsets
        self.seq_len = seq_len
        self.n_samples = max(len(split.tokens) - 1, 0) // seq_len

    def gather(self, samples_B: NDArray[np.int64]) -> MicroBatch:
        """(B,) sample numbers -> the sequences."""
        import torch

        where_BT1 = samples_B[:, None] * self.seq_len + np.arange(self.seq_len + 1)
        document_BT1 = np.searchsorted(self.offsets, where_BT1, side="right") - 1
        return MicroBatch(
            torch.from_numpy(self.tokens[where_BT1].astype(np.int64)),
            torch.from_numpy(document_BT1),
            torch.zeros(len(samples_B), dtype=torch.int64),
        )
