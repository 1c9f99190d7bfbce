"""A report as a list of blocks, written once and rendered as markdown and as a page.

Text holds no markup but `code` between backticks.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 (the title) to 3."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Cells:
    """A table as text: heads and rows of equal length; the first `n_words` columns hold words, the rest numbers."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_words: int = 1


@dataclass(frozen=True)
class Verbatim:
    """Lines as they were printed, under a line that says what they are."""

    title: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A figure as a file name without suffix, what it shows in one sentence, and its two forms."""

    name: str
    caption: str
    svg: bytes
    png: bytes


@dataclass(frozen=True)
class Pictures:
    """Figures that may stand side by side."""

    pictures: tuple[Picture, ...]


Block = Heading | Paragraph | Bullets | Cells | Verbatim | Pictures
