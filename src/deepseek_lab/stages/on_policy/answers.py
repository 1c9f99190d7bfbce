"""Drawn answers as an on-policy stage trains on them: tokens, which of them count, and numbers a token.

Cut into forward passes by a budget of tokens: rows by their length, so that what fills them up costs least, or whole
groups, whose prompt a pass then reads once (`shared_prompts`).

Shapes: B answers, T1 tokens, T = T1 - 1 positions (position t predicts token t + 1).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deepseek_lab.rollout.experience import Experience

OLD, SAMPLER, ADVANTAGE, WEIGHT, REFERENCE = "old", "sampler", "advantage", "weight", "reference"
ROUTING = "routing"
"""Columns: log-probabilities of π_old, of the sampler and of the reference; advantages; weights in the loss; the
experts that read a token while it was drawn."""


@dataclass(frozen=True)
class Answers:
    """index_B: the rows' places in the experience; columns: (B, T, …) numbers a token, by name.

    prompt_B: tokens of each row's prompt. group_B: equal for rows of the same prompt, which stand side by side.
    """

    index_B: Tensor
    prompt_B: Tensor
    group_B: Tensor
    tokens_BT1: Tensor
    mask_BT: Tensor
    columns: Mapping[str, Tensor]
    shares_prompts: bool = False
    """Whether a forward of these rows reads a prompt once."""

    @classmethod
    def of(cls, experience: Experience) -> "Answers":
        """All answers of an experience."""
        index_B = torch.arange(len(experience.answer_B), device=experience.mask_BT.device)
        columns = {SAMPLER: experience.logp_sampler_BT}
        if experience.routing_BTLK is not None:
            columns[ROUTING] = experience.routing_BTLK
        prompt_B = experience.mask_BT.int().argmax(1) + 1
        group_B = index_B // experience.group_size
        return cls(index_B, prompt_B, group_B, experience.tokens_BT1, experience.mask_BT, columns)

    def counting(self, mask_BT: Tensor) -> "Answers":
        """The same rows with other tokens that count."""
        return replace(self, mask_BT=mask_BT)

    @property
    def inside_BT(self) -> Tensor:
        """(B, T) the positions up to a row's last token that counts, questions included."""
        return self.mask_BT.flip(1).cumsum(1).flip(1) > 0

    def rows(self, place_N: Tensor) -> "Answers":
        """Some rows, by their place here."""
        return self._each(lambda rows: rows[place_N])

    def with_columns(self, columns: Mapping[str, Tensor]) -> "Answers":
        """The same rows with further numbers."""
        return replace(self, columns={**self.columns, **columns})

    def cut(self, budget: int) -> list["Answers"]:
        """All rows in passes of at most `budget` tokens (at least one row each), every pass as wide as its longest."""
        return [self.rows(place_N)._narrowed(width) for place_N, width in self._by_length(budget)]

    def n_filled(self, budget: int) -> int:
        """Inputs of the passes of `cut`, what fills rows up included."""
        return sum(len(place_N) * width for place_N, width in self._by_length(budget))

    def _by_length(self, budget: int) -> Iterator[tuple[Tensor, int]]:
        """The rows of each pass, the longest first, and its width."""
        length_B = self.inside_BT.sum(1).clamp_min(1)  # a row none of whose tokens counts
        order_B = length_B.argsort(descending=True, stable=True)
        start = 0
        while start < len(order_B):
            width = int(length_B[order_B[start]])
            end = start + max(1, budget // width)
            yield order_B[start:end], width
            start = end

    def cut_by_prompt(self, budget: int) -> list["Answers"]:
        """All rows in passes of at most `budget` tokens (at least one row each), a prompt counted once a pass.

        A group is torn apart only where it exceeds the budget by itself.
        """
        passes: list[list[int]] = []
        left = 0
        own, prompt = self.own_B.tolist(), self.prompt_B.tolist()
        for rows in self._groups():
            if sum(own[row] for row in rows) + prompt[rows[0]] > left:
                left = 0
            for row in rows:
                cost = own[row] + (0 if passes and row - 1 in passes[-1] and row != rows[0] else prompt[row])
                if cost > left:
                    passes.append([])
                    left, cost = budget, own[row] + prompt[row]
                passes[-1].append(row)
                left -= cost
        return [self._sharing(torch.tensor(rows, device=self.index_B.device)) for rows in passes]

    def _groups(self) -> list[range]:
        """The rows of each prompt."""
        _, counts = self.group_B.unique_consecutive(return_counts=True)
        ends = counts.cumsum(0).tolist()
        return [range(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    def _sharing(self, place_N: Tensor) -> "Answers":
        some = self.rows(place_N)
        return replace(some._narrowed(int((some.prompt_B + some.own_B).max())), shares_prompts=True)

    @property
    def own_B(self) -> Tensor:
        """(B,) inputs behind each row's prompt up to its last token that counts."""
        return (self.inside_BT.sum(1) - self.prompt_B).clamp_min(0)

    @property
    def n_shared(self) -> int:
        """Inputs of all rows, each prompt counted once."""
        return int(self.own_B.sum()) + sum(int(self.prompt_B[rows.start]) for rows in self._groups())

    def _narrowed(self, width: int) -> "Answers":
        columns = {name: column_BT[:, :width] for name, column_BT in self.columns.items()}
        tokens_BT1, mask_BT = self.tokens_BT1[:, : width + 1], self.mask_BT[:, :width]
        return replace(self, tokens_BT1=tokens_BT1, mask_BT=mask_BT, columns=columns)

    def to(self, device: torch.device) -> "Answers":
        """The same on `device`."""
        return self._each(lambda x: x.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Answers":
        return Answers(
            index_B=change(self.index_B),
            prompt_B=change(self.prompt_B),
            group_B=change(self.group_B),
            tokens_BT1=change(self.tokens_BT1),
            mask_BT=change(self.mask_BT),
            columns={name: change(column_BT) for name, column_BT in self.columns.items()},
            shares_prompts=self.shares_prompts,
        )


def placed(whole: Answers, passes: Iterable[tuple[Answers, Tensor]]) -> Tensor:
    """(B, T) the numbers of passes at their places in the whole, 0 elsewhere."""
    found = [(micro, value_BT) for micro, value_BT in passes]
    whole_BT = found[0][1].new_zeros(whole.mask_BT.shape)
    for micro, value_BT in found:
        whole_BT[micro.index_B, : value_BT.shape[1]] = value_BT
    return whole_BT
