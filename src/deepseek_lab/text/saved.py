"""A tokenizer that exists already: the `tokenizer.json` of an earlier run.

A run that starts from another's weights must cut text as that run did, whatever text it reads: a tokenizer
trained anew would give every id another meaning.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deepseek_lab.config import DataError
from deepseek_lab.text.tokenizer import Tokenizer, TokenizerConfig


class SavedTokenizer(Tokenizer):
    """`Tokenizer.load` behind a Config, so that it can stand where a tokenizer is chosen."""

    @dataclass(frozen=True, kw_only=True)
    class Config(TokenizerConfig):
        path: str

        @property
        def largest_vocabulary(self) -> int:
            """Raises DataError when there is no such file or it is no tokenizer."""
            return self.build().vocab_size

        @property
        def joins_line_breaks(self) -> bool:
            """Perhaps: a look at its tokens will tell."""
            return True

        def build(self, train_documents: Iterable[str] = ()) -> "SavedTokenizer":
            """The tokenizer as it was saved; no text is read. Raises DataError."""
            if not Path(self.path).is_file():
                raise DataError(f"{self.path}: no such file; a run folder has one")
            return SavedTokenizer.load(self.path)
