"""Text out of tokens that come one at a time: whole characters only, cut where a stop string begins.

A token of a byte-level vocabulary may end inside a character, and a stop string may begin in one token and end
in another. Both are held back until the next token decides, so that nothing shown has to be taken back.

Left out: what the text means (`reasoning`), and which token ends an answer (the engine's `stop_ids`).
"""

import codecs
from collections.abc import Collection, Sequence

from deepseek_lab.text.tokenizer import Tokenizer


class Detokeniser:
    """Token ids -> text, whole characters only; what is no UTF-8 becomes U+FFFD, as in `Tokenizer.decode`.

    Ids beyond the tokenizer stand for nothing.

    shown: names of control tokens that are written out (`<think>`); all others stand for nothing
    """

    def __init__(self, tokenizer: Tokenizer, shown: Collection[str] = ()) -> None:
        self._bytes = tokenizer.bytes_of_token
        self._names = {tokenizer.special_ids[name]: name for name in shown if name in tokenizer.special_ids}
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """The characters that `token` completes."""
        if token in self._names:
            return self.finish() + self._names[token]
        # A network's head may be wider than its tokenizer, and an untrained one draws from all of it.
        return self._decoder.decode(self._bytes[token] if token < len(self._bytes) else b"")

    def finish(self) -> str:
        """What an unfinished character at the end becomes."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


def held_back(text: str, wanted: Sequence[str]) -> int:
    """The length of the longest end of `text` that may yet become one of `wanted`."""
    longest = max((len(word) - 1 for word in wanted), default=0)
    for length in range(min(longest, len(text)), 0, -1):
        if any(word.startswith(text[-length:]) for word in wanted if len(word) > length):
            return length
    return 0


class StopStrings:
    """Passes text on up to the first of `stops`, which is left out. Raises ValueError for an empty stop."""

    def __init__(self, stops: Sequence[str]) -> None:
        if "" in stops:
            raise ValueError("a stop string holds no character")
        self._stops = stops
        self._pending = ""
        self.found = False

    def feed(self, text: str) -> str:
        """What can be shown now; nothing more once `found`."""
        if self.found:
            return ""
        text = self._pending + text
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.found, self._pending = True, ""
            return text[: min(places)]
        keep = held_back(text, self._stops)
        self._pending = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back and became no stop string."""
        pending, self._pending = self._pending, ""
        return pending
