"""A pass in which the tokens of a prompt stand once, whatever the number of answers to it.

    prompt | answer 1 | answer 2 | …   next prompt | …      one row, without filling; every answer sees its prompt

Everything but attention works token by token, so a network computes a prompt once, with the gradients of all answers
to it; the last token of a prompt predicts the first of each. What routers did is given back for every row, a prompt's
tokens as often as answers share them: counts are those of rows that stand alone.

Left out: MTP modules, for which the last tokens of a prompt have another successor in each answer.

Shapes: B answers, T positions, N tokens of the row, L mixture layers, K experts a token.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deepseek_lab.model.attention.segments import Segment
from deepseek_lab.model.output import ModelOutput, RoutingStatistics
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.stages.on_policy.answers import Answers


@dataclass(frozen=True)
class SharedPass:
    """source_N: places of the row's tokens among the B·T inputs; place_BT: the token at each position, any outside."""

    source_N: Tensor
    place_BT: Tensor
    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, micro: Answers) -> "SharedPass":
        """The row of some answers, those to one prompt side by side."""
        time, device = micro.mask_BT.shape[1], micro.mask_BT.device
        place_BT = torch.zeros(micro.mask_BT.shape, dtype=torch.int64)
        sources, segments = [], []
        for row, start, length, segment in _laid_out(micro):
            own = torch.arange(segment.start, segment.end)
            sources.append(own + (row * time + start - segment.start))
            segments.append(segment)
            if segment.before == (0, 0):  # a prompt
                place_BT[row : row + length, start : start + len(own)] = own
            else:
                place_BT[row, start : start + len(own)] = own
        return cls(torch.cat(sources).to(device), place_BT.to(device), tuple(segments))

    def forward(self, model: Transformer, micro: Answers, chosen_BTLK: Tensor | None = None) -> ModelOutput:
        """Of the row: states (1, N, D); statistics of routers as (B, T, …), without gradient."""
        ids_1N = micro.tokens_BT1[:, :-1].reshape(-1)[self.source_N][None]
        chosen_1NLK = None if chosen_BTLK is None else chosen_BTLK.flatten(0, 1)[self.source_N][None]
        output: ModelOutput = model(ids_1N, chosen_BTLK=chosen_1NLK, segments=self.segments)
        return replace(output, routing=[self._of_rows(statistics) for statistics in output.routing])

    def _of_rows(self, statistics: RoutingStatistics) -> RoutingStatistics:
        affinity_BTE = statistics.affinity_BTE.detach()[0, self.place_BT]
        return replace(statistics, affinity_BTE=affinity_BTE, chosen_BTK=statistics.chosen_BTK[0, self.place_BT])


def _laid_out(micro: Answers) -> Iterator[tuple[int, int, int, Segment]]:
    """First row, first position, number of rows and segment of each prompt, and of each answer behind it."""
    lengths, prompts, groups = (x.tolist() for x in (micro.own_B, micro.prompt_B, micro.group_B))
    at = row = 0
    while row < len(groups):
        rows = next((n for n, group in enumerate(groups[row:]) if group != groups[row]), len(groups) - row)
        before = (at, at + prompts[row])
        yield row, 0, rows, Segment(*before)
        at = before[1]
        for own in range(row, row + rows):
            if lengths[own]:
                yield own, prompts[own], 1, Segment(at, at + lengths[own], before)
            at += lengths[own]
        row += rows
