"""Preference data: pairs of conversations, one a row, side by side, with the assistant's tokens marked.

Encoded and kept as instruction data is. A batch is as wide as its longest conversation. A pair that does not
fit into `seq_len` + 1 tokens is left out whole: an answer that is cut cannot be compared.

Left out: packing. Whole answers are summed up, and pairs of one batch differ little in length here.

Shapes: P pairs, 2 the chosen and the rejected one, T1 = T + 1 tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import DataError
from deepseek_lab.data.conversation import ChatFormat, Turn
from deepseek_lab.data.conversation_packing import AnsweredSplit
from deepseek_lab.data.corpus import SPLITS, Split
from deepseek_lab.data.instruction import SAMPLE_QUESTION, open_split, opened, pad_id
from deepseek_lab.data.preference_pairs import PairCorpus
from deepseek_lab.data.row_data import RowData, RowDataConfig, Rows
from deepseek_lab.text.tokenizer import TokenizerConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class PairBatch:
    """Pairs: tokens, which are no padding, which the answer's own, and each pair's number over all splits."""

    tokens_P2T1: "Tensor"
    inside_P2T1: "Tensor"
    answer_P2T1: "Tensor"
    number_P: "Tensor"

    def to(self, device: "torch.device | str") -> "PairBatch":
        """The same batch on `device`."""
        return PairBatch(*(tensor.to(device, non_blocking=True) for tensor in self._tensors()))

    def cut(self, size: int) -> list["PairBatch"]:
        """The pairs in order, at most `size` at a time."""
        return [PairBatch(*part) for part in zip(*(tensor.split(size) for tensor in self._tensors()), strict=True)]

    def _tensors(self) -> "tuple[Tensor, Tensor, Tensor, Tensor]":
        return self.tokens_P2T1, self.inside_P2T1, self.answer_P2T1, self.number_P


class PairRows:
    """A split of conversations that come in twos."""

    def __init__(self, split: AnsweredSplit, seq_len: int, pad: int, first: int) -> None:
        """`first`: the number of this split's first pair."""
        self._split, self._pad, self._first = split, pad, first
        lengths = np.diff(split.offsets)
        if len(lengths) % 2:
            raise DataError(f"{len(lengths)} answers are no pairs: one has lost its partner")
        self._pairs = np.flatnonzero((lengths.reshape(-1, 2) <= seq_len + 1).all(1))
        self.misfits = {"longer pairs are left out": len(lengths) // 2 - len(self._pairs)}
        """How many pairs do not fit, in words."""

    @property
    def n_rows(self) -> int:
        """How many pairs fit."""
        return len(self._pairs)

    def gather(self, rows_B: NDArray[np.int64]) -> PairBatch:
        """(P,) row numbers -> the pairs."""
        import torch

        which = self._pairs[rows_B][:, None] * 2 + np.arange(2)
        starts, ends = self._split.offsets[which], self._split.offsets[which + 1]
        width = int((ends - starts).max())
        place = starts[..., None] + np.arange(width)
        inside = place < ends[..., None]
        place = np.minimum(place, len(self._split.ids) - 1)
        tokens = np.where(inside, self._split.ids[place].astype(np.int64), self._pad)
        answer = self._split.answer[place] & inside
        _require_partners(tokens, answer)
        arrays = (tokens, inside, answer, rows_B + self._first)
        return PairBatch(*map(torch.from_numpy, arrays))


def _require_partners(tokens_P2T1: NDArray[np.int64], answer_P2T1: NDArray[np.bool_]) -> None:
    """Raises DataError unless both sides of every pair ask the same and answer it."""
    begin_P21 = answer_P2T1.argmax(-1)[..., None]
    asked_P2T1 = np.arange(tokens_P2T1.shape[-1]) < begin_P21
    same = (begin_P21[:, 0] == begin_P21[:, 1]).all() and answer_P2T1.any(-1).all()
    if not same or not ((tokens_P2T1[:, 0] == tokens_P2T1[:, 1]) | ~asked_P2T1[:, 0]).all():
        raise DataError("a chosen and a rejected answer are not to the same question: a pair has lost its partner")


class PreferenceData(RowData):
    """Batches of pairs."""

    @dataclass(frozen=True, kw_only=True)
    class Config(RowDataConfig):
        kind: ClassVar[str] = "preferences"
        corpus_kind: ClassVar[type[Any]] = PairCorpus

        def build(self, tokenizer_config: TokenizerConfig, vocab_size: int, seed: int) -> "PreferenceData":
            """Opens the encoded pairs, or makes them. Raises ConfigError, DataError, OSError."""
            tokenizer, folder, manifest = opened(self, tokenizer_config, vocab_size)
            splits: dict[Split, Rows] = {}
            first = 0
            for split in SPLITS:
                rows = PairRows(open_split(folder, split), self.seq_len, pad_id(tokenizer), first)
                splits[split], first = rows, first + rows.n_rows
            return PreferenceData(self, tokenizer, manifest, splits, seed)

    @property
    def n_pairs(self) -> int:
        """Of all splits; `PairBatch.number_P` is below it."""
        return sum(rows.n_rows for rows in self._splits.values())

    def every_pair(self) -> Iterator[PairBatch]:
        """All pairs of all splits in the order of their numbers, a forward pass at a time."""
        size = self.micro_batch_size()
        for rows in self._splits.values():
            for start in range(0, rows.n_rows, size):
                yield rows.gather(np.arange(start, min(start + size, rows.n_rows)))

    def sample_prompt(self) -> list[int]:
        """A question for the text that is written at each validation."""
        return ChatFormat(self.tokenizer).prompt([Turn("user", SAMPLE_QUESTION)])
