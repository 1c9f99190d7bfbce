"""Whole conversations packed into rows of one length: best-fit decreasing (Ding et al. 2024, 2404.10830 §3).

The longest first, each into the fullest row that still has room. No conversation is split, so none is trained
on without its beginning; one that is longer than a row is cut at the row's end, and left out when nothing of
its answer is left. Every token carries the number of its conversation, padding -1: attention and loss stay
inside, and what a row's other conversations say changes nothing (tests compare with unpacked rows).

Left out: restarting positions. A rotary embedding knows differences alone.

Shapes: B rows, T1 = T + 1 tokens.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PADDING = -1


@dataclass(frozen=True)
class AnsweredBatch:
    """Packed conversations: tokens, the conversation of each, and whether the assistant said it."""

    tokens_BT1: "Tensor"
    document_BT1: "Tensor"
    answer_BT1: "Tensor"

    def to(self, device: "torch.device | str") -> "AnsweredBatch":
        """The same batch on `device`."""
        return AnsweredBatch(*(tensor.to(device, non_blocking=True) for tensor in self._tensors()))

    def cut(self, size: int) -> list["AnsweredBatch"]:
        """The rows in order, at most `size` at a time."""
        parts = zip(*(tensor.split(size) for tensor in self._tensors()), strict=True)
        return [AnsweredBatch(*part) for part in parts]

    def _tensors(self) -> "tuple[Tensor, Tensor, Tensor]":
        return self.tokens_BT1, self.document_BT1, self.answer_BT1


@dataclass(frozen=True)
class AnsweredSplit:
    """Conversations end to end: number d is `[offsets[d] : offsets[d + 1]]` of ids and answer."""

    ids: NDArray[Any]
    answer: NDArray[np.bool_]
    offsets: NDArray[np.int64]


def best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of indices whose lengths add up to at most `capacity`. Raises ValueError for a length above it."""
    if lengths and max(lengths) > capacity:
        raise ValueError(f"{max(lengths)} does not fit into {capacity}")
    bins: list[list[int]] = []
    with_room: defaultdict[int, list[int]] = defaultdict(list)  # free places -> bins
    rooms: list[int] = []  # those keys, sorted
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = bisect_left(rooms, lengths[index])
        if place == len(rooms):
            bins.append([])
            number, room = len(bins) - 1, capacity
        else:
            room = rooms[place]
            number = with_room[room].pop()
            if not with_room[room]:
                rooms.pop(place)
        bins[number].append(index)
        left = room - lengths[index]
        if not with_room[left]:
            insort(rooms, left)
        with_room[left].append(number)
    return bins


class PackedConversations:
    """A split as rows of `seq_len` + 1 tokens."""

    def __init__(self, split: AnsweredSplit, seq_len: int, pad_id: int, packing: bool = True) -> None:
        """`packing` false: one conversation a row."""
        self._split, self._pad_id, self._width = split, pad_id, seq_len + 1
        whole = np.diff(split.offsets)
        lengths = np.minimum(whole, self._width)
        said = np.concatenate([[0], np.cumsum(split.answer)])
        starts = split.offsets[:-1]
        usable = np.flatnonzero(said[starts + lengths] > said[starts])
        self._lengths = lengths
        learnt = int((said[starts + whole] > said[starts]).sum())
        self.misfits = {
            "longer conversations are cut, and their ends not learnt": int((whole[usable] > self._width).sum()),
            "conversations are left out, of which no answer is left": learnt - len(usable),
            "conversations are left out that have no answer to learn": len(whole) - learnt,
        }
        """What was done with how many conversations that do not fit, in words."""
        if packing:
            bins = best_fit_decreasing(lengths[usable].tolist(), self._width)
            self._rows = [usable[one].tolist() for one in bins]
        else:
            self._rows = [[int(one)] for one in usable]
        self.fill = float(lengths[usable].sum() / max(len(self._rows) * self._width, 1))
        """Share of all places that hold a token."""

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def gather(self, rows_B: NDArray[np.int64]) -> AnsweredBatch:
        """(B,) row numbers -> the rows."""
        import torch

        shape = (len(rows_B), self._width)
        tokens_BT1, document_BT1 = np.full(shape, self._pad_id), np.full(shape, PADDING)
        answer_BT1 = np.zeros(shape, dtype=np.bool_)
        for b, row in enumerate(rows_B.tolist()):
            end = 0
            for one in self._rows[row]:
                start, length = int(self._split.offsets[one]), int(self._lengths[one])
                places, source = slice(end, end + length), slice(start, start + length)
                tokens_BT1[b, places], answer_BT1[b, places] = self._split.ids[source], self._split.answer[source]
                document_BT1[b, places] = one
                end += length
        return AnsweredBatch(*map(torch.from_numpy, (tokens_BT1, document_BT1, answer_BT1)))
