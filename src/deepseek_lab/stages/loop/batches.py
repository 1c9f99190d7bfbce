"""What the loop asks of data, and the loaders that Lightning draws steps from.

Batch k is a pure function of (seed, k), so a loader has no position of its own: it starts where the stage
stands. No workers and no randomness; a batch is cut out of a memory map.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, Protocol

import torch


class StageData(Protocol):
    """Batch k as a pure function, held-out batches, an identity."""

    @property
    def manifest(self) -> dict[str, Any]:
        """Names the data; `hash` tells two data sets apart."""

    def step_batch(self, k: int, rank: int = 0, world_size: int = 1) -> Sequence[Any]:
        """The micro-batches of optimiser step k (from 0) for one rank; each has `.to(device)`."""

    def validation_batches(self, limit: int | None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Held-out micro-batches for one rank, the same at every call; None takes the whole split."""


class StepBatch:
    """The micro-batches of one step; a class of its own, so that Lightning does not look inside.

    counted: False for one that only keeps this rank in step with the others.
    """

    def __init__(self, micro_batches: Sequence[Any], counted: bool = True) -> None:
        self.micro_batches = list(micro_batches)
        self.counted = counted

    def to(self, device: torch.device) -> "StepBatch":
        """All micro-batches on `device`."""
        return StepBatch([micro.to(device) for micro in self.micro_batches], self.counted)


class TrainingSteps:
    """Yields the batches of the steps that are left, from the step the stage stands at."""

    def __init__(self, stage: Any) -> None:
        self._stage = stage

    def __iter__(self) -> Iterator[StepBatch]:
        stage, ranks = self._stage, (self._stage.global_rank, self._stage.trainer.world_size)
        for k in range(stage.steps_done, stage.trainer.max_steps):
            yield StepBatch(stage.data.step_batch(k, *ranks))


class EmptyBatches:
    """Yields so many batches of nothing, for a stage that draws what it learns from."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[StepBatch]:
        for _ in range(self._count):
            yield StepBatch([])


class HeldOutBatches:
    """Yields the held-out batches, one micro-batch each, the same number on every rank.

    A short last batch gives rank 0 more rows than others; a sharded model runs on all ranks or on none, so
    those fill up with a batch of rank 0 that does not count.
    """

    def __init__(self, stage: Any) -> None:
        self._stage = stage

    def _of(self, rank: int) -> Iterator[Any]:
        stage = self._stage
        batches: Iterator[Any] = stage.data.validation_batches(stage.validation_batches, rank, stage.trainer.world_size)
        return batches

    def __iter__(self) -> Iterator[StepBatch]:
        rank = self._stage.global_rank
        if rank == 0:
            yield from (StepBatch([micro]) for micro in self._of(0))
            return
        for micro, of_rank_0 in zip_longest(self._of(rank), self._of(0)):
            yield StepBatch([of_rank_0 if micro is None else micro], counted=micro is not None)
