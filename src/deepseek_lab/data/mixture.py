"""A mixture: several corpora, each giving its share of the training samples.

Samples are dealt in blocks of 1,000. How many of a block each corpus gives follows from the weights by
largest remainders; their order is a permutation that (seed, block) decide. So the corpus of sample n, and
which of that corpus' own samples it is, follow from n alone, and every block has the wanted shares.

A weight is a share of samples, that is, of tokens. Left out: weights that change during a run.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import ConfigError, nearest
from deepseek_lab.data.corpus import CorpusConfig, SourcesConfig

BLOCK = 1000


class Mixture:
    """Corpora by name, and their weights."""

    @dataclass(frozen=True, kw_only=True)
    class Config(SourcesConfig):
        sources: dict[str, CorpusConfig]
        weights: dict[str, float]

        def check(self) -> None:
            for name in self.sources:
                if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                    raise ConfigError("must be small letters, digits and _: it names a curve", f"sources.{name}")
            for here, there in (("sources", "weights"), ("weights", "sources")):
                ours, theirs = getattr(self, here), getattr(self, there)
                for name in sorted(set(ours) - set(theirs)):
                    raise ConfigError(f"has no counterpart in {there}{nearest(name, theirs)}", f"{here}.{name}")
            self._check_weights()

        def _check_weights(self) -> None:
            for name, weight in self.weights.items():
                if weight < 0 or 0 < weight < 1 / BLOCK:
                    raise ConfigError(f"must be 0 or at least {1 / BLOCK}, not {weight}", f"weights.{name}")
            total = sum(self.weights.values())
            if abs(total - 1) > 1e-6:
                listed = " + ".join(f"{weight:g}" for weight in self.weights.values())
                raise ConfigError(f"must add up to 1, not {listed} = {total:g}", "weights")

        def corpora(self) -> dict[str, CorpusConfig]:
            """In the order of their names: the order in which somebody wrote them down changes nothing."""
            return dict(sorted(self.sources.items()))

        def shares(self) -> dict[str, float]:
            """In the same order."""
            return dict(sorted(self.weights.items()))

        def require_installed(self) -> None:
            for corpus in self.sources.values():
                corpus.require_installed()


def largest_remainders(weights: Sequence[float], total: int) -> NDArray[np.int64]:
    """(S,) whole numbers near weights · total that add up to `total`; what is left goes to the largest remainders."""
    exact = np.array(weights) * total
    counts = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return counts


class SampleOrder:
    """Which source gives sample n, and which of the source's own samples that is.

    Shapes: S sources, N samples in a row, M = BLOCK.
    """

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        self.counts_S = largest_remainders(weights, BLOCK)
        self.seed = seed
        self._block = lru_cache(maxsize=2)(self._make_block)  # a step may straddle two blocks

    def _make_block(self, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(M,) the source of each sample of a block, and its number among those of its source."""
        source_M = np.repeat(np.arange(len(self.counts_S)), self.counts_S)
        source_M = np.random.default_rng([self.seed, block, BLOCK]).permutation(source_M)
        number_M = np.empty(BLOCK, dtype=np.int64)
        for source, count in enumerate(self.counts_S):
            number_M[source_M == source] = block * count + np.arange(count)
        return source_M, number_M

    def between(self, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(N,) sources and (N,) numbers of samples `first`, `first + 1`, …; a source's numbers are in a row."""
        blocks = range(first // BLOCK, (first + count - 1) // BLOCK + 1)
        source, number = (np.concatenate(parts) for parts in zip(*map(self._block, blocks), strict=True))
        here = slice(first % BLOCK, first % BLOCK + count)
        return source[here], number[here]
