"""Which difficulty an iteration asks about: most often the one that is solved about half of the time.

    P(level) ∝ p (1 - p) + floor,   p: its pass rate, an average with a memory of some hundred answers

p(1 - p) is the chance that two answers differ, which is what a group learns from; a level nobody has seen counts as
half solved, and the floor keeps asking about those that are done or hopeless. Levels are the task's own
(`Example.difficulty`); within a level questions come in the order of a permutation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepseek_lab.tasks.task import Example

FLOOR = 0.02
MEMORY = 256.0
"""Answers after which what was seen before counts 1/e."""


class Curriculum:
    """Pass rates by difficulty, and the questions that they lead to."""

    def __init__(self, examples: Sequence[Example], seed: int) -> None:
        self.seed = seed
        level_Q = np.array([difficulty(example) for example in examples])
        self.levels = [int(level) for level in sorted(set(level_Q.tolist()))]
        self._places = [np.flatnonzero(level_Q == level) for level in self.levels]
        self.right = np.zeros(len(self.levels))
        self.seen = np.zeros(len(self.levels))

    @property
    def pass_rates(self) -> NDArray[np.float64]:
        """(L,) of each level; a half where nothing was seen, and near it where little was."""
        rates: NDArray[np.float64] = (self.right + 1.0) / (self.seen + 2.0)
        return rates

    def chances(self) -> NDArray[np.float64]:
        """(L,) how often each level is asked about."""
        rates = self.pass_rates
        weights = rates * (1 - rates) + FLOOR
        chances: NDArray[np.float64] = weights / weights.sum()
        return chances

    def chosen(self, iteration: int, again: int, count: int, rank: int) -> NDArray[np.int64]:
        """(count,) places of questions; the same for the same state and arguments."""
        source = np.random.default_rng([self.seed, 2, iteration, again, rank])
        level_N = source.choice(len(self.levels), size=count, p=self.chances())
        picked = [source.permutation(places)[: (level_N == level).sum()] for level, places in enumerate(self._places)]
        found = np.concatenate(picked).astype(np.int64)
        if len(found) < count:  # a level with fewer questions than were wanted of it
            rest = np.setdiff1d(np.concatenate(self._places), found)
            found = np.concatenate([found, source.permutation(rest)[: count - len(found)]])
        return source.permutation(found)

    def learn(self, drawn: Sequence[tuple[Example, int, int]], over_ranks: Callable[[Tensor], Tensor] | None) -> None:
        """Takes in how many answers to each question were right, of how many."""
        news = np.zeros((2, len(self.levels)))
        for example, right, count in drawn:
            news[:, self.levels.index(difficulty(example))] += right, count
        if over_ranks is not None:
            news = over_ranks(torch.from_numpy(news)).numpy()
        kept = np.exp(-news[1] / MEMORY)
        self.right, self.seen = self.right * kept + news[0], self.seen * kept + news[1]

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"levels": self.levels, "right": self.right.tolist(), "seen": self.seen.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`; the levels are those of the same questions."""
        self.right, self.seen = np.array(state["right"]), np.array(state["seen"])


def difficulty(example: Example) -> int:
    """The task's own number; 0 where it gives none."""
    return int(getattr(example, "difficulty", 0))
