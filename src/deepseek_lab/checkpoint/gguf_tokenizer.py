"""The vocabulary inside a GGUF file, as a tokenizer: GPT-2's bytes, cut into words as GPT-2 or SmolLM do.

Left out: SentencePiece vocabularies, and the dozens of other ways to cut words that llama.cpp knows by name.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from deepseek_lab.checkpoint.gguf_file import GgufFile, opened
from deepseek_lab.config import DataError
from deepseek_lab.text.generation_defaults import GenerationDefaults
from deepseek_lab.text.special_names import SpecialNames
from deepseek_lab.text.tokenizer import Tokenizer, TokenizerConfig

_CONTROL = 3
"""The type of a control token in `tokenizer.ggml.token_type`."""


class GgufTokenizer(Tokenizer):
    """The byte-level vocabulary of a file."""

    @dataclass(frozen=True, kw_only=True)
    class Config(TokenizerConfig):
        path: str

        @property
        def largest_vocabulary(self) -> int:
            return self.build().vocab_size

        @property
        def joins_line_breaks(self) -> bool:
            return True

        def build(self, train_documents: Iterable[str] = ()) -> "GgufTokenizer":
            """Raises DataError for a file that is damaged or has another kind of vocabulary."""
            return read_tokenizer(opened(Path(self.path)))


def read_tokenizer(file: GgufFile) -> GgufTokenizer:
    """The tokenizer inside. Raises DataError for another kind than GPT-2's with SmolLM's or GPT-2's words."""
    fields = file.fields
    kind, words = (fields.get(f"tokenizer.ggml.{name}") for name in ("model", "pre"))
    if kind != "gpt2" or words not in _WORDS:
        raise DataError(f"{file.path}: tokenizer {kind} with words of {words} is unknown here; known: {_LISTED}")
    try:
        inner = _inner(fields, _WORDS[words]())
        tokenizer = GgufTokenizer(inner, _special_names(fields))
        given = fields.get("tokenizer.chat_template")
        tokenizer.chat_template = None if given is None else str(given)
        tokenizer.generation = GenerationDefaults(end_ids=_end_ids(fields))
        return tokenizer
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"{file.path}: holds no tokenizer that can be read ({str(error)[:100]})") from None


def _inner(fields: dict[str, Any], words: Any) -> "tokenizers.Tokenizer":
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    inner = tokenizers.Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    inner.pre_tokenizer = words
    inner.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return inner


def _end_ids(fields: dict[str, Any]) -> frozenset[int]:
    """Tokens that end a text, a turn or a message."""
    found = (fields.get(f"tokenizer.ggml.{kind}_token_id") for kind in ("eos", "eot", "eom"))
    return frozenset(int(token) for token in found if token is not None)


def _special_names(fields: dict[str, Any]) -> SpecialNames:
    tokens = fields["tokenizer.ggml.tokens"]
    begin, end, pad = (
        None if (index := fields.get(f"tokenizer.ggml.{kind}_token_id")) is None else str(tokens[index])
        for kind in ("bos", "eos", "padding")
    )
    if end is None:
        raise ValueError("it names no token that ends a text")
    return SpecialNames(begin, end, pad, add_begin=fields.get("tokenizer.ggml.add_bos_token") is True)


def _gpt2_words() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _smollm_words() -> Any:
    """Digits one by one, then GPT-2's words."""
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2_words()])


_WORDS = {"gpt-2": _gpt2_words, "smollm": _smollm_words}
_LISTED = ", ".join(f"gpt2 with words of {words}" for words in _WORDS)
