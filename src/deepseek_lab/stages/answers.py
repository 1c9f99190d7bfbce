"""Drawn answers as an on-policy stage trains on them: tokens, which of them count, and numbers a token.

Cut into forward passes by a budget of tokens, the longest rows together: what fills rows up costs least then.

Shapes: B answers, T1 tokens, T = T1 - 1 positions (position t predicts token t + 1).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from deepseek_lab.rollout.experience import Experience

OLD, SAMPLER, ADVANTAGE, WEIGHT, REFERENCE = "old", "sampler", "advantage", "weight", "reference"
ROUTING = "routing"
"""Columns: log-probabilities of π_old, of the sampler and of the reference; advantages; weights in the loss; the
experts that read a token while it was drawn."""


@dataclass(frozen=True)
class Answers:
    """index_B: the rows' places in the experience; columns: (B, T, …) numbers a token, by name."""

    index_B: Tensor
    tokens_BT1: Tensor
    mask_BT: Tensor
    columns: Mapping[str, Tensor]

    @classmethod
    def of(cls, experience: Experience) -> "Answers":
        """All answers of an experience."""
        index_B = torch.arange(len(experience.answer_B), device=experience.mask_BT.device)
        columns = {SAMPLER: experience.logp_sampler_BT}
        if experience.routing_BTLK is not None:
            columns[ROUTING] = experience.routing_BTLK
        return cls(index_B, experience.tokens_BT1, experience.mask_BT, columns)

    def counting(self, mask_BT: Tensor) -> "Answers":
        """The same rows with other tokens that count."""
        return Answers(self.index_B, self.tokens_BT1, mask_BT, self.columns)

    @property
    def inside_BT(self) -> Tensor:
        """(B, T) the positions up to a row's last token that counts, questions included."""
        return self.mask_BT.flip(1).cumsum(1).flip(1) > 0

    def rows(self, place_N: Tensor) -> "Answers":
        """Some rows, by their place here."""
        columns = {name: column_BT[place_N] for name, column_BT in self.columns.items()}
        return Answers(self.index_B[place_N], self.tokens_BT1[place_N], self.mask_BT[place_N], columns)

    def with_columns(self, columns: Mapping[str, Tensor]) -> "Answers":
        """The same rows with further numbers."""
        return Answers(self.index_B, self.tokens_BT1, self.mask_BT, {**self.columns, **columns})

    def cut(self, budget: int) -> list["Answers"]:
        """All rows in passes of at most `budget` tokens (at least one row each), every pass as wide as its longest."""
        length_B = self.inside_BT.sum(1).clamp_min(1)  # a row none of whose tokens counts
        order_B = length_B.argsort(descending=True, stable=True)
        passes, start = [], 0
        while start < len(order_B):
            width = int(length_B[order_B[start]])
            end = start + max(1, budget // width)
            passes.append(self.rows(order_B[start:end])._narrowed(width))
            start = end
        return passes

    def _narrowed(self, width: int) -> "Answers":
        columns = {name: column_BT[:, :width] for name, column_BT in self.columns.items()}
        return Answers(self.index_B, self.tokens_BT1[:, : width + 1], self.mask_BT[:, :width], columns)

    def to(self, device: torch.device) -> "Answers":
        """The same on `device`."""
        columns = {name: column_BT.to(device) for name, column_BT in self.columns.items()}
        tensors = (self.index_B.to(device), self.tokens_BT1.to(device), self.mask_BT.to(device))
        return Answers(*tensors, columns)


def placed(whole: Answers, passes: Iterable[tuple[Answers, Tensor]]) -> Tensor:
    """(B, T) the numbers of passes at their places in the whole, 0 elsewhere."""
    found = [(micro, value_BT) for micro, value_BT in passes]
    whole_BT = found[0][1].new_zeros(whole.mask_BT.shape)
    for micro, value_BT in found:
        whole_BT[micro.index_B, : value_BT.shape[1]] = value_BT
    return whole_BT
