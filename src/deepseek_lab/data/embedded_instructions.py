"""Instructions without a download: sums, work on words, and what functions of the standard library do.

Written by templates from a seed, so every machine has the same ones (but for the docstrings, which are the
running Python's). Two questions of the same text are one question: it is held out, or it is not.

Left out: anything that needs knowledge of the world. A network that answers these has learnt to take turns,
to keep to the point and to stop; that is what fine-tuning at this size can show.
"""

import ast
import random
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from deepseek_lab.config import ConfigError
from deepseek_lab.data.conversation import Conversation, ConversationCorpus, Turn
from deepseek_lab.data.corpus import CorpusConfig

MODULES = ("heapq", "bisect", "textwrap", "shutil", "statistics", "random", "json", "os", "string", "calendar")
LONGEST_FACT = 100  # letters


class EmbeddedInstructions(ConversationCorpus):
    """`n_conversations` of one turn each; every family has its share."""

    has_thoughts = False

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        n_conversations: int = 8000
        seed: int = 0

        def check(self) -> None:
            self.require_positive("n_conversations")
            if self.seed < 0:
                raise ConfigError(f"must not be negative, not {self.seed}", "seed")

        def build(self) -> "EmbeddedInstructions":
            return EmbeddedInstructions(self.n_conversations, self.seed)

    def __init__(self, n_conversations: int, seed: int) -> None:
        self.n_conversations, self.seed = n_conversations, seed

    @cached_property
    def _all(self) -> list[Conversation]:
        draw = random.Random(self.seed)
        conversations = []
        for number in range(self.n_conversations):
            question, answer = FAMILIES[number % len(FAMILIES)](draw)
            turns = (Turn("user", question), Turn("assistant", answer))
            conversations.append(Conversation(str(number), turns, held_out_with=question))
        return conversations

    def conversations(self) -> Iterator[Conversation]:
        yield from self._all


def _sum(draw: random.Random) -> tuple[str, str]:
    a, b = draw.randrange(100), draw.randrange(100)
    question = draw.choice(("What is {} + {}?", "Add {} and {}.", "{} plus {} is?"))
    return question.format(a, b), f"{a} + {b} = {a + b}"


def _product(draw: random.Random) -> tuple[str, str]:
    a, b = draw.randrange(2, 20), draw.randrange(2, 20)
    return draw.choice(("What is {} times {}?", "Multiply {} by {}.")).format(a, b), f"{a} * {b} = {a * b}"


def _word(draw: random.Random) -> str:
    return "".join(draw.choice("aeiou" if place % 2 else "bdklmnprst") for place in range(draw.randrange(3, 8)))


def _reverse(draw: random.Random) -> tuple[str, str]:
    word = _word(draw)
    return draw.choice(("Spell {} backwards.", "Reverse the word {}.")).format(word), word[::-1]


def _upper(draw: random.Random) -> tuple[str, str]:
    word = _word(draw)
    return draw.choice(("Write {} in capitals.", "Shout {}!")).format(word), word.upper()


def _length(draw: random.Random) -> tuple[str, str]:
    word = _word(draw)
    return f"How many letters has {word}?", f"{word} has {len(word)} letters."


def _sort(draw: random.Random) -> tuple[str, str]:
    words = [_word(draw) for _ in range(3)]
    return f"Sort these words: {', '.join(words)}", ", ".join(sorted(words))


def _fact(draw: random.Random) -> tuple[str, str]:
    name, line = draw.choice(library_facts())
    return draw.choice(("What does {} do?", "Explain {} in a line.")).format(name), line


FAMILIES: tuple[Callable[[random.Random], tuple[str, str]], ...] = (
    *(_sum, _product, _reverse, _upper, _length, _sort, _fact),
)


@cache
def library_facts() -> list[tuple[str, str]]:
    """Public functions of some modules and the first line of what they say of themselves; parsed, never imported."""
    root = Path(sysconfig.get_paths()["stdlib"])
    facts = []
    for module in MODULES:
        paths = (root / f"{module}.py", root / module / "__init__.py")
        path = next((path for path in paths if path.is_file()), None)
        tree = ast.parse(path.read_text(encoding="utf-8")) if path else ast.Module([], [])
        for node in tree.body:
            said = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            line = said.partition("\n")[0].strip() if said else ""
            if isinstance(node, ast.FunctionDef) and 0 < len(line) <= LONGEST_FACT and not node.name.startswith("_"):
                facts.append((f"{module}.{node.name}", line))
    return facts
