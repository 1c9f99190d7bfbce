"""Drafts of further tokens by the MTP modules, kept in step with what the main model has read.

Let a row's tokens be x_0..x_M, of which the main model has read all but x_M. Module k joins the state of depth k-1
at position i with token x_{i+k} and predicts x_{i+k+1} (V3 §2.2, eq. 21-23); at i = M-1 that is the draft d_k. Beyond
x_M the tokens joined are drafts themselves, so the last k-1 positions of module k are provisional: they are dropped
from its cache after each round and computed again when the true tokens are known. For that the one state of depth
k-1 is kept that the next round starts from.

What is drafted decides how often drafts are kept, never what is sampled in the end (`speculation`).

Shapes: B rows, T positions, D width, K depth, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepseek_lab.generation.distribution import drawn, penalised, probabilities
from deepseek_lab.generation.noise import DRAFT, uniform
from deepseek_lab.generation.row_cache import RowCache
from deepseek_lab.generation.samples import Row
from deepseek_lab.model.cache import Cache
from deepseek_lab.model.linear import project
from deepseek_lab.model.transformer import Transformer


@dataclass(frozen=True)
class ReadPrompts:
    """What the modules know of some prompts: a cache a depth, and the states that each starts from, (≤ 1, D) a row."""

    caches: list[Cache]
    kept: list[list[Tensor]]


class Drafter:
    """The modules of the first `depth` depths, and what they remember of each row."""

    def __init__(self, model: Transformer, depth: int) -> None:
        self.model, self.depth = model, depth
        self.caches = [RowCache(model.new_mtp_cache(k, 1, 1)) for k in range(1, depth + 1)]
        self._kept: list[list[Tensor]] = []

    def read(self, source_BTD: Tensor, ids_BT: Tensor, valid_BT: Tensor) -> ReadPrompts:
        """What follows from left-padded prompts and the main model's states of them."""
        states_BTD, caches, kept = source_BTD, [], []
        for depth in range(1, self.depth + 1):
            length = ids_BT.shape[1] - depth
            cache = self.model.new_mtp_cache(depth, len(ids_BT), max(1, length))
            start = [states_BTD[row, length:] if length >= 0 and valid_BT[row, length] else states_BTD[row, :0]
                     for row in range(len(ids_BT))]  # fmt: skip
            kept.append(start)
            caches.append(cache)
            if length > 0:
                inputs = states_BTD[:, :length], ids_BT[:, depth:], cache, valid_BT[:, :length]
                states_BTD = self.model.draft(depth, *inputs)
            else:
                states_BTD = states_BTD[:, :0]
        return ReadPrompts(caches, [[of_depth[row] for of_depth in kept] for row in range(len(ids_BT))])

    def append(self, read: ReadPrompts, row: int, copies: int) -> None:
        """Takes a prompt in, for so many samples."""
        for cache, given in zip(self.caches, read.caches, strict=True):
            cache.append(given, row, copies)
        self._kept += [list(read.kept[row]) for _ in range(copies)]

    def remove(self, row: int) -> None:
        """Drops a row; the last one takes its place."""
        for cache in self.caches:
            cache.remove(row)
        self._kept[row] = self._kept[-1]
        self._kept.pop()

    def learn(self, row: int, source_TD: Tensor) -> None:
        """The main model's states of the tokens that it has read since the last draft."""
        self._kept[row][0] = source_TD

    def draft(self, rows: Sequence[Row]) -> tuple[list[list[int]], Tensor]:
        """Drafts of every row, K each, and the distributions (B, K, V) that they were drawn from."""
        drafts: list[list[int]] = [[] for _ in rows]
        states_K: list[list[Tensor]] = []
        q_KBV = []
        for depth in range(1, self.depth + 1):
            inputs = [
                torch.cat([kept[depth - 1], *(states[row] for states in states_K[-1:])])
                for row, kept in enumerate(self._kept)
            ]
            states_K.append(self._states(depth, inputs, rows, drafts))
            token_B, q_BV = self._tokens(depth, torch.stack([each[-1] for each in states_K[-1]]), rows, drafts)
            for draft, token in zip(drafts, token_B, strict=True):
                draft.append(token)
            q_KBV.append(q_BV)
        self._keep(states_K, rows)
        return drafts, torch.stack(q_KBV, dim=1)

    def _states(
        self, depth: int, inputs: Sequence[Tensor], rows: Sequence[Row], drafts: Sequence[Sequence[int]]
    ) -> list[Tensor]:
        """One module over the positions that its cache lacks, up to M-1: rows of different numbers, left-padded."""
        width, device = max(map(len, inputs)), inputs[0].device
        hidden_BTD = inputs[0].new_zeros(len(inputs), width, inputs[0].shape[1])
        ids, valid = [], []
        for number, (states_TD, row, draft) in enumerate(zip(inputs, rows, drafts, strict=True)):
            padding = width - len(states_TD)
            hidden_BTD[number, padding:] = states_TD
            ids.append([0] * padding + [*row.seen, *draft][-len(states_TD) :])
            valid.append([False] * padding + [True] * len(states_TD))
        cache = self.caches[depth - 1].rows(0, len(inputs))
        valid_BT = torch.tensor(valid, device=device)
        state_BTD = self.model.draft(depth, hidden_BTD, torch.tensor(ids, device=device), cache, valid_BT)
        return [state_BTD[number, width - len(states) :] for number, states in enumerate(inputs)]

    def _tokens(
        self, depth: int, state_BD: Tensor, rows: Sequence[Row], drafts: Sequence[Sequence[int]]
    ) -> tuple[list[int], Tensor]:
        """Draft tokens and their distributions, by the rules of each row's request."""
        rules = [row.request.sampling for row in rows]
        logits_BV = project(state_BD, self.model.head_weight_VD)
        logits_BV = torch.where(logits_BV.isfinite().all(-1, keepdim=True), logits_BV, torch.zeros_like(logits_BV))
        seen = [[*row.seen, *draft] if row.has_penalty else [] for row, draft in zip(rows, drafts, strict=True)]
        q_BV = probabilities(penalised(logits_BV, rules, seen), rules)
        numbers = [uniform(row.request.seed, row.sample, len(row.ids) + depth - 1, DRAFT) for row in rows]
        aim_B = torch.tensor(numbers, dtype=torch.float64, device=q_BV.device)
        return drawn(q_BV, aim_B).tolist(), q_BV

    def _keep(self, states_K: Sequence[Sequence[Tensor]], rows: Sequence[Row]) -> None:
        """Drops the provisional positions of each module, and notes where the next one starts in the next round."""
        for depth, (states, cache) in enumerate(zip(states_K, self.caches, strict=True), start=1):
            for number, row in enumerate(rows):
                cache.lengths[number] = max(0, row.n_seen - depth)
                if depth < self.depth:
                    own = states[number]
                    self._kept[number][depth] = own[len(own) - depth :][:1] if len(own) >= depth else own[:0]
