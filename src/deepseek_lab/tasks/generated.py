"""The first questions of a split, drawn without end from a seed: what the generated tasks have in common.

Which split a question belongs to is a hash of its key, so it is the same whatever the seed, the sizes and the
number of questions asked for: splits share no key. A task gives questions that are nearly the same (the same
numbers in another order) one key.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.tasks.task import Example, Split

_DRAWING = "sixth"
"""Of the splits. Earlier ones served while the recipes were tuned; with a new one the test split is unseen. (Some
leave too few countdown puzzles in a split.)"""

_FRUITLESS_DRAWS = 10_000
"""Draws in a row without a new question after which there are taken to be no more."""


@dataclass(frozen=True, kw_only=True)
class GeneratedConfig(CheckedConfig):
    """held_out: share of all questions in validation, and again in test."""

    held_out: float = 0.1
    seed: int = 0

    def check(self) -> None:
        self.require_not_negative("seed")
        check_held_out(self.held_out)


def check_held_out(share: float) -> None:
    """Raises ConfigError unless something is left for every split."""
    if not 0 < share < 0.5:
        raise ConfigError(f"must be above 0 and under 0.5, not {share}", "held_out")


@dataclass(frozen=True)
class Drawn:
    """A question, and the text that decides on its split."""

    key: str
    example: Example


def split_of(key: str, held_out: float) -> Split:
    """A key's own split: `held_out` of all keys are validation, as many test, the rest train."""
    place = int.from_bytes(hashlib.sha256(f"{_DRAWING} {key}".encode()).digest()[:8]) / 2**64
    if place < held_out:
        return "validation"
    return "test" if place < 2 * held_out else "train"


def first_examples(
    draw: Callable[[random.Random], Drawn | None], name: str, split: Split, count: int, config: GeneratedConfig
) -> list[Example]:
    """The first `count` questions of a split that differ. `draw` may give None, which is a draw for nothing.

    Raises ConfigError when the sizes of the task allow fewer.
    """
    source = random.Random(f"{config.seed} {name} {split}")
    found = list(islice(_of_split(draw, source, split, config.held_out), count))
    if len(found) < count:
        raise ConfigError(f"allow only {len(found)} or so {split} questions, not {count}", f"the sizes of {name}")
    return found


def _of_split(
    draw: Callable[[random.Random], Drawn | None], source: random.Random, split: Split, held_out: float
) -> Iterator[Example]:
    """New questions of one split, until no more are to be expected."""
    seen: set[str] = set()
    fruitless = 0
    while fruitless <= _FRUITLESS_DRAWS:
        drawn = draw(source)
        fruitless += 1
        if drawn and drawn.example.question not in seen and split_of(drawn.key, held_out) == split:
            fruitless = 0
            seen.add(drawn.example.question)
            yield drawn.example
