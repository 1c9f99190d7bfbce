"""Tokenizers over bytes: a byte-pair encoding trained on the corpus, and the plain bytes.

Both split text into bytes first (GPT-2's byte alphabet), so every text has an encoding and decodes to
itself, and the bytes a token stands for can be counted: loss in bits per byte compares runs of different
vocabularies. Byte-pair encoding: Sennrich et al. 2016, algorithm 1, as DeepSeek-V3 §4.1 uses it. What may be
merged is cut first, as GPT-2 does (on Python code it trains twice as fast and leaves no more tokens) or as
DeepSeek-V3 does: up to three digits, Chinese and Japanese apart, punctuation together with line breaks.

Special tokens carry DeepSeek's names. All that later training needs (chat, fill-in-the-middle, thinking)
are reserved from the start, so that a pretrained network can be finetuned without a new vocabulary.
Encoding never makes one out of plain text: a text that spells a special token is only text.

Left out: normalisation and byte fallback (not needed over bytes), truncation, padding, chat templates.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, pre_tokenizers, trainers

from deepseek_lab.config import CheckedConfig, ConfigError, DataError
from deepseek_lab.input_files import require_fetched
from deepseek_lab.text.control_tokens import is_control, with_control_tokens_flagged
from deepseek_lab.text.generation_defaults import GENERATION, GenerationDefaults, generation_beside
from deepseek_lab.text.special_names import TEMPLATE, SpecialNames, own_template

END_OF_TEXT = "<｜end▁of▁sentence｜>"
FIM_HOLE, FIM_BEGIN, FIM_END = "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>"
SPECIAL_TOKENS = (
    "<｜begin▁of▁sentence｜>",
    END_OF_TEXT,
    "<｜▁pad▁｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    FIM_HOLE,
    FIM_BEGIN,
    FIM_END,
    "<think>",
    "</think>",
)
SMALLEST_VOCABULARY = 256 + len(SPECIAL_TOKENS)


def byte_alphabet() -> list[str]:
    """GPT-2's 256 characters, one a byte: printable Latin-1 stands for itself, the rest from U+0100 up."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


class TokenizerConfig(CheckedConfig, ABC):
    """What the data needs to know of a tokenizer's Config."""

    learns: ClassVar[bool] = False
    """Whether the tokenizer depends on the text it is built from."""

    @property
    @abstractmethod
    def largest_vocabulary(self) -> int:
        """An upper bound on the built tokenizer's `vocab_size`, known before any text is read."""

    @property
    def joins_line_breaks(self) -> bool:
        """Whether there may be tokens of punctuation and line breaks."""
        return False

    def require_installed(self) -> None:
        """Raises ConfigError, naming what to install, when a package that holds the tokenizer is missing."""

    @abstractmethod
    def build(self, train_documents: Iterable[str]) -> "Tokenizer":
        """A tokenizer fitted to `train_documents`."""


class Tokenizer:
    """Token ids for text, over bytes; saved as the json of the `tokenizers` library.

    Safe to call from several threads.
    """

    def __init__(self, inner: "tokenizers.Tokenizer", names: SpecialNames | None = None) -> None:
        self._inner = inner
        self.names = names or SpecialNames()
        self.chat_template: str | None = None
        """The template that came with a published tokenizer; conversations are written by it."""
        self.generation = GenerationDefaults()
        """How the published model that it came with wants to be sampled."""
        # Not part of the saved json: without it a text that spells a special token would become one.
        self._inner.encode_special_tokens = True
        added = [(str(t.content), int(i), t.special) for i, t in self._inner.get_added_tokens_decoder().items()]
        self.special_ids: dict[str, int] = {name: i for name, i, special in added if is_control(name, special)}
        self._plain_added = {name for name, _, _ in added} - self.special_ids.keys()
        self.eos_id: int = self.special_ids[self.names.end]
        self.vocab_size: int = 1 + max(self._inner.get_vocab(with_added_tokens=True).values())

    @cached_property
    def prefix_ids(self) -> tuple[int, ...]:
        """What a published model expects before every text: its token of beginning, or nothing (all of our own)."""
        if self.names.add_begin and self.names.begin in self.special_ids:
            return (self.special_ids[self.names.begin],)
        text = self._inner.encode("a")  # a token of the end may stand behind it
        before = takewhile(bool, text.special_tokens_mask)
        return tuple(text.ids[: sum(1 for _ in before)])

    @property
    def before_id(self) -> int:
        """The token right before a text: the last of the prefix, or in packed training the end of the one before."""
        return self.prefix_ids[-1] if self.prefix_ids else self.eos_id

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without any special token."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text."""
        return [encoding.ids for encoding in self._inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD, special tokens their names or nothing."""
        text: str = self._inner.decode(list(ids), skip_special_tokens=skip_special)
        return text

    def to_bytes(self, ids: Iterable[int]) -> bytes:
        """The exact bytes that `ids` stand for; special tokens stand for none."""
        return b"".join(map(self.bytes_of_token.__getitem__, ids))

    @cached_property
    def bytes_of_token(self) -> list[bytes]:
        """For every id the bytes it stands for, b"" for special tokens."""
        byte_of = {character: byte for byte, character in enumerate(byte_alphabet())}
        spelled = [b""] * self.vocab_size
        for token, index in self._inner.get_vocab(with_added_tokens=True).items():
            if token in self._plain_added:
                spelled[index] = token.encode()
            elif token not in self.special_ids:
                if not byte_of.keys() >= set(token):
                    raise DataError(f"token {token!r} is not spelt in bytes")
                spelled[index] = bytes(byte_of[character] for character in token)
        return spelled

    def token_bytes(self) -> NDArray[np.int64]:
        """(V,) how many UTF-8 bytes each token stands for; 0 for special tokens."""
        return np.array([len(spelled) for spelled in self.bytes_of_token], dtype=np.int64)

    def fingerprint(self) -> str:
        """A hash of everything that decides how text is encoded."""
        names = "" if self.names == SpecialNames() else str(self.names)
        return hashlib.sha256((self._inner.to_str() + names).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """What `save` writes."""
        text: str = self._inner.to_str(pretty=True)
        return text

    def save(self, path: str | Path) -> None:
        """Writes one json file, and where the names are not DeepSeek's a second one beside it."""
        Path(path).write_text(self.to_json(), encoding="utf-8")
        if self.names != SpecialNames():
            self.names.save_beside(Path(path))
        if self.chat_template is not None:
            Path(path).with_name(TEMPLATE).write_text(self.chat_template, encoding="utf-8")
        if content := self.generation_file():
            Path(path).with_name(GENERATION).write_text(content, encoding="utf-8")

    @property
    def end_ids(self) -> list[int]:
        """Tokens that end a response, the tokenizer's own first."""
        return [self.eos_id, *sorted(self.generation.end_ids - {self.eos_id})]

    def generation_file(self) -> str | None:
        """What generation_config.json holds of this tokenizer's model; None where nothing is known."""
        if self.generation == GenerationDefaults():
            return None
        named = {"eos_token_id": self.end_ids if len(self.end_ids) > 1 else self.eos_id}
        return json.dumps({**self.generation.values, **named}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads what `save` wrote, or published files; raises DataError when it is no tokenizer over bytes."""
        path, names = Path(path), SpecialNames.beside(Path(path))
        require_fetched(path)
        try:
            text = path.read_text(encoding="utf-8")
            inner = tokenizers.Tokenizer.from_str(text if names is None else with_control_tokens_flagged(text))
            built = cls(inner, names)
            built.token_bytes()
            built.chat_template, built.generation = own_template(path.parent), generation_beside(path.parent)
            return built
        except DataError:
            raise
        except Exception as error:  # the library raises plain Exception
            raise DataError(f"{path} is not a saved tokenizer: {error}") from None


PreTokenizer = Literal["gpt2", "deepseek_v3"]
_V3_PATTERNS = (  # in turn: each cuts what the ones before left whole
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)


def _words(kind: PreTokenizer) -> Any:
    """What cuts a text into the pieces that are merged apart, and those into bytes."""
    if kind == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    cuts = [pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated") for pattern in _V3_PATTERNS]
    return pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def over_bytes(model: Any, pre_tokenizer: Any) -> "tokenizers.Tokenizer":
    """A `tokenizers` pipeline that applies `model` to the bytes of what `pre_tokenizer` gives."""
    inner = tokenizers.Tokenizer(model)
    inner.pre_tokenizer = pre_tokenizer
    inner.decoder = decoders.ByteLevel()
    return inner


class BytePairEncoding(Tokenizer):
    """Byte-level BPE: the special tokens, the 256 bytes, then merges in the order they were learnt.

    Words of letters and runs of punctuation are merged apart, so no merge can spell a special token.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(TokenizerConfig):
        vocab_size: int
        pre_tokenizer: PreTokenizer = "gpt2"
        learns: ClassVar[bool] = True

        def check(self) -> None:
            if self.vocab_size < SMALLEST_VOCABULARY:
                raise ConfigError(
                    f"must be at least {SMALLEST_VOCABULARY} (256 bytes and {len(SPECIAL_TOKENS)} special tokens), "
                    f"not {self.vocab_size}",
                    "vocab_size",
                )

        @property
        def largest_vocabulary(self) -> int:
            return self.vocab_size

        @property
        def joins_line_breaks(self) -> bool:
            return self.pre_tokenizer == "deepseek_v3"

        def build(self, train_documents: Iterable[str]) -> "BytePairEncoding":
            inner = over_bytes(models.BPE(), _words(self.pre_tokenizer))
            trainer = trainers.BpeTrainer(
                vocab_size=self.vocab_size,
                special_tokens=list(SPECIAL_TOKENS),
                initial_alphabet=byte_alphabet(),
                show_progress=False,
            )
            inner.train_from_iterator(train_documents, trainer)
            return BytePairEncoding(inner)


class Bytes(Tokenizer):
    """One token a byte: ids 0 to 255 are the bytes, then come the special tokens. A BPE without merges."""

    @dataclass(frozen=True, kw_only=True)
    class Config(TokenizerConfig):
        @property
        def largest_vocabulary(self) -> int:
            return SMALLEST_VOCABULARY

        def build(self, train_documents: Iterable[str] = ()) -> "Bytes":
            vocabulary = {character: byte for byte, character in enumerate(byte_alphabet())}
            whole_text = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            inner = over_bytes(models.BPE(vocab=vocabulary, merges=[]), whole_text)
            inner.add_special_tokens(list(SPECIAL_TOKENS))
            return Bytes(inner)
