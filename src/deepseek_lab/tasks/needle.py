"""Needle in a haystack: a fact stated once in a long text and asked for at its end.

The fact is a comment line (`#kiwi purple`), the haystack any text, the question the line's first word
(`#kiwi`). Only reading the haystack tells the value: names and values are paired at random. The
published test of long context (Kamradt 2023; DeepSeek-V3 §4.3, fig. 8) in the smallest form that a network
of a few million weights can learn.

`planted` makes training text in which facts come again at random distances; `haystack` makes one test.
Left out: tokens. Whoever asks encodes the parts, so that a test has an exact length in tokens.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

NAMES = (
    "apple", "badge", "basin", "beach", "bench", "berry", "bread", "brick", "bridge", "brush", "cabin", "candle",
    "canoe", "carpet", "castle", "cedar", "chair", "cherry", "church", "circle", "cliff", "clock", "cloud", "comet",
    "couch", "crane", "cup", "desk", "diamond", "door", "dress", "drum", "eagle", "engine", "feather", "fence",
    "field", "flag", "flower", "forest", "garden", "garlic", "gate", "glass", "glove", "grape", "guitar", "hammer",
    "harbor", "hat", "hill", "horse", "house", "island", "jacket", "kettle", "kiwi", "ladder", "lake", "lamp",
    "lemon", "letter", "lily", "lion",
)  # fmt: skip
VALUES = (
    "amber", "azure", "beige", "black", "blue", "bronze", "brown", "copper", "coral", "cream", "crimson", "cyan",
    "dark", "ebony", "gold", "golden", "gray", "green", "indigo", "ivory", "jade", "khaki", "lime", "magenta",
    "maroon", "mint", "navy", "ochre", "olive", "orange", "orchid", "peach", "pearl", "pink", "plum", "purple",
    "red", "rose", "ruby", "russet", "rust", "saffron", "salmon", "sand", "scarlet", "sepia", "silver", "slate",
    "steel", "tan", "teal", "topaz", "turquoise", "umber", "vanilla", "violet", "walnut", "wheat", "white", "wine",
    "yellow", "zinc", "bright", "pale",
)  # fmt: skip


@dataclass(frozen=True)
class Needle:
    """A fact: `line` states it, `question` is the line without its value, `answer` the value."""

    name: str
    value: str

    @property
    def question(self) -> str:
        return f"#{self.name}"

    @property
    def answer(self) -> str:
        return f" {self.value}"

    @property
    def line(self) -> str:
        return f"{self.question}{self.answer}\n"


def draw(count: int, source: random.Random) -> list[Needle]:
    """`count` facts of different names; values may repeat. Raises ValueError beyond the number of names."""
    return [Needle(name, source.choice(VALUES)) for name in source.sample(NAMES, count)]


def planted(filler: str, needles: Sequence[Needle], times: int, source: random.Random) -> str:
    """`filler` with each needle's line put in `times` times, at random line ends."""
    lines = filler.splitlines(keepends=True)
    lines = [line if line.endswith("\n") else f"{line}\n" for line in lines]
    places = [(source.randint(0, len(lines)), source.random(), n.line) for n in needles for _ in range(times)]
    for place, _, line in sorted(places, reverse=True):
        lines.insert(place, line)
    return "".join(lines)


def haystack(
    filler: Sequence[int], line: Sequence[int], question: Sequence[int], length: int, depth: float
) -> list[int]:
    """A test of exactly `length` tokens: `line` at `depth` of the filler (0 first, 1 last), `question` at the end.

    Raises ValueError when the length has no room for both, or the filler is too short to fill it.
    """
    room = length - len(line) - len(question)
    if room < 0 or len(filler) < room:
        raise ValueError(f"{length} tokens cannot be made of {len(filler)} of filler and {len(line)} + {len(question)}")
    before = round(depth * room)
    return [*filler[:before], *line, *filler[before:room], *question]
