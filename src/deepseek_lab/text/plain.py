"""What people write as token ids, none of which is a control token.

Some tokenizers (DeepSeek's own, as published) read the names of control tokens in any text. A text that spells one is
cut inside each name and encoded piece by piece. Looking at a tokenizer's flag `special` would not do: DeepSeek's own
leaves it off for the tokens of chat, thinking and fill-in-the-middle.
"""

import re
from collections.abc import Sequence

from deepseek_lab.text.tokenizer import Tokenizer


class PlainText:
    """Encodes texts without control tokens; `control` matches their names, the longest first."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids = frozenset(tokenizer.special_ids.values())
        names = sorted(tokenizer.special_ids, key=len, reverse=True)
        self.control = re.compile("|".join(map(re.escape, names)))

    def encode(self, text: str) -> list[int]:
        """Ids of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text."""
        batch = self._tokenizer.encode_batch(list(texts))
        return [
            list(ids) if self._ids.isdisjoint(ids) else self._piecewise(text)
            for text, ids in zip(texts, batch, strict=True)
        ]

    def _piecewise(self, text: str) -> list[int]:
        cuts = [match.start() + 1 for match in self.control.finditer(text)]
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
        batch = self._tokenizer.encode_batch(pieces)
        return [token for ids in batch for token in ids if token not in self._ids]
