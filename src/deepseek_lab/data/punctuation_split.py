"""DeepSeek-V3's random splitting of tokens that join punctuation with line breaks (§4.1).

Its pre-tokenizer makes single tokens of `.\\n\\n` or `):\\n`. A prompt that ends at `:` without a line break
then shows the network something it never saw in training (the token boundary bias). So a share of these
tokens is written as two halves, the punctuation and the line breaks; the text stays the same.
"""

import unicodedata

import numpy as np

from deepseek_lab.config import ConfigError
from deepseek_lab.data.corpus import Document
from deepseek_lab.data.draws import draws_of
from deepseek_lab.text.tokenizer import Tokenizer


def halves(spelled: bytes) -> tuple[str, str] | None:
    """Punctuation (after a space or none) and the line breaks behind it; None for any other token."""
    try:
        text = spelled.decode("utf-8")
    except UnicodeDecodeError:
        return None
    before = text.rstrip("\r\n")
    marks = before.removeprefix(" ")
    if not marks or before == text or any(unicodedata.category(character)[0] not in "PS" for character in marks):
        return None
    return before, text[len(before) :]


class PunctuationSplit:
    """Splits such tokens of a document with probability `rate`. Raises ConfigError when there are none."""

    def __init__(self, tokenizer: Tokenizer, rate: float) -> None:
        self.rate = rate
        self._halves = self._table(tokenizer) if rate else {}
        if rate and not self._halves:
            raise ConfigError(
                f"= {rate} splits nothing: this tokenizer has no token of punctuation and line breaks",
                "data.punctuation_split_rate",
            )
        self._can_split_V = np.zeros(tokenizer.vocab_size, dtype=bool)
        self._can_split_V[list(self._halves)] = True

    @staticmethod
    def _table(tokenizer: Tokenizer) -> dict[int, list[int]]:
        """For each such token the ids of its two halves."""
        found = {index: halves(spelled) for index, spelled in enumerate(tokenizer.bytes_of_token)}
        return {index: [*tokenizer.encode(two[0]), *tokenizer.encode(two[1])] for index, two in found.items() if two}

    def __call__(self, document: Document, ids: list[int]) -> list[int]:
        """The ids of a document with some of its tokens in halves."""
        if not self._halves:
            return ids
        places = np.flatnonzero(self._can_split_V[np.array(ids, dtype=np.int64)])
        chosen = places[draws_of(document, "punctuation and line breaks").random(len(places)) < self.rate]
        split: list[int] = []
        done = 0
        for place in chosen.tolist():
            split += [*ids[done:place], *self._halves[ids[place]]]
            done = place + 1
        return split + ids[done:]
