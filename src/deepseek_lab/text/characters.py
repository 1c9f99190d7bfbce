"""A character-level tokenizer in which the tags of reasoning are whole: for models that spell out numbers.

One token a character of ASCII (others one a byte of UTF-8, so every text has an encoding), and one for each
word of `words`: `<think>` takes one step to write instead of seven. The words are plain text here, not control
tokens, because DeepSeek-R1-Zero writes its tags as text that a reward reads; the other special tokens keep their
DeepSeek names.

Left out: anything learnt from text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import tokenizers
from tokenizers import models, pre_tokenizers

from deepseek_lab.config import ConfigError
from deepseek_lab.text.tokenizer import SPECIAL_TOKENS, Tokenizer, TokenizerConfig, byte_alphabet, over_bytes

TAGS = ("<think>", "</think>", "<answer>", "</answer>")


class Characters(Tokenizer):
    """Ids 0 to 255 are the bytes, then come the words, then the special tokens that are no words."""

    @dataclass(frozen=True, kw_only=True)
    class Config(TokenizerConfig):
        words: list[str] = field(default_factory=lambda: list(TAGS))

        def check(self) -> None:
            if len(set(self.words)) < len(self.words):
                raise ConfigError("must differ from each other", "words")
            for word in self.words:
                if len(word) < 2 or not word.isascii() or word.split() != [word]:
                    raise ConfigError(f"must be of two or more visible ASCII characters each, not {word!r}", "words")

        @property
        def largest_vocabulary(self) -> int:
            return 256 + len({*self.words, *SPECIAL_TOKENS})

        def build(self, train_documents: Iterable[str] = ()) -> "Characters":
            spelled = [*byte_alphabet(), *self.words]
            bpe = models.BPE(vocab={word: i for i, word in enumerate(spelled)}, merges=[], ignore_merges=True)
            inner = over_bytes(bpe, _pieces(self.words))
            inner.add_special_tokens([name for name in SPECIAL_TOKENS if name not in self.words])
            return Characters(inner)


def _pieces(words: Iterable[str]) -> pre_tokenizers.PreTokenizer:
    """Cuts a text into the words and what stands between, and that into bytes."""
    longest_first = sorted(words, key=len, reverse=True)
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if not longest_first:
        return to_bytes
    pattern = tokenizers.Regex("|".join(map(re.escape, longest_first)))
    return pre_tokenizers.Sequence([pre_tokenizers.Split(pattern, "isolated"), to_bytes])
