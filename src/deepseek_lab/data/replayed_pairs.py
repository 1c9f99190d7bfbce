"""New pairs with some of the old: what a reward model goes on learning from when the policy has moved on.

DeepSeekMath (§4.1.4, Algorithm 1) retrains its reward model after each round of reinforcement learning on answers of
the new policy, with a replay of 10% of the data it learnt from before. Here `share` of all pairs are old ones, drawn
without replacement and spread evenly among the new. Files are those of `preference_pairs`.

Left out: how old a replayed pair is; those of all earlier rounds have the same chance.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepseek_lab.config import ConfigError
from deepseek_lab.data.corpus import CorpusConfig
from deepseek_lab.data.preference_pairs import Pair, PairCorpus, PairFiles


class ReplayedPairs(PairCorpus):
    """All new pairs, and as many old ones as make up `share` of the whole, or all there are."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        """new: a file or folder of this round's pairs; old: those of the rounds before."""

        new: str
        old: list[str]
        share: float = 0.1
        seed: int = 0

        def check(self) -> None:
            self.require_not_negative("seed")
            if not self.old:
                raise ConfigError("must name one file or folder at least", "old")
            if not 0 <= self.share < 1:
                raise ConfigError(f"must be at least 0 and below 1, not {self.share}", "share")

        def build(self) -> "ReplayedPairs":
            """Raises ConfigError for a path without pairs."""
            old = [PairFiles.Config(path=path).build() for path in self.old]
            return ReplayedPairs(PairFiles.Config(path=self.new).build(), old, self.share, self.seed)

    def __init__(self, new: PairFiles, old: list[PairFiles], share: float, seed: int) -> None:
        self.new, self.old, self.share, self.seed = new, old, share, seed

    @property
    def notes(self) -> Sequence[str]:
        """Those of every path."""
        return [note for files in (self.new, *self.old) for note in files.notes]

    def pairs(self) -> Iterator[Pair]:
        new, old = list(self.new.pairs()), [pair for files in self.old for pair in files.pairs()]
        wanted = min(len(old), round(len(new) * self.share / (1 - self.share)))
        draw = random.Random(self.seed)
        replayed = iter(draw.sample(old, wanted))
        for number, pair in enumerate(new):
            yield pair
            for _ in range((number + 1) * wanted // len(new) - number * wanted // len(new)):
                yield next(replayed)
