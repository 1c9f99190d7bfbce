"""Splitting punctuation from line breaks changes tokens, never text, and only where there are such tokens."""

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.data.corpus import Document
from deepseek_lab.data.punctuation_split import PunctuationSplit, halves
from deepseek_lab.text.tokenizer import BytePairEncoding, Bytes

TEXT = "if a(b):\n    c(d).\n\n    e = [f]\n" * 200


@pytest.fixture(scope="module")
def tokenizer():
    return BytePairEncoding.Config(vocab_size=300, pre_tokenizer="deepseek_v3").build([TEXT])


@pytest.mark.parametrize(
    ("spelled", "two"),
    [
        (b".\n\n", (".", "\n\n")),
        (b" ):\r\n", (" ):", "\r\n")),
        ("。\n".encode(), ("。", "\n")),
        (b".", None),
        (b"\n", None),
        (b" \n", None),
        (b"a\n", None),
        (b".\n.", None),
        (b"\xe3\x80\n", None),
        (b"", None),
    ],
)
def test_which_tokens_have_halves(spelled, two):
    assert halves(spelled) == two


def test_the_text_stays_and_the_rate_is_met(tokenizer):
    document = Document("a.py", TEXT)
    ids = tokenizer.encode(TEXT)
    joined = sum(halves(tokenizer.bytes_of_token[index]) is not None for index in ids)
    assert joined > 300
    for rate in (0.25, 1.0):
        split = PunctuationSplit(tokenizer, rate)(document, ids)
        assert tokenizer.to_bytes(split) == TEXT.encode()
        assert sum(halves(tokenizer.bytes_of_token[index]) is not None for index in split) == pytest.approx(
            (1 - rate) * joined, abs=0.06 * joined
        )
        assert split == PunctuationSplit(tokenizer, rate)(document, ids)
    assert PunctuationSplit(tokenizer, 0.0)(document, ids) == ids


@pytest.mark.parametrize("config", [Bytes.Config(), BytePairEncoding.Config(vocab_size=300)])
def test_a_tokenizer_without_such_tokens_is_refused(config):
    assert not config.joins_line_breaks
    built = config.build([TEXT])
    with pytest.raises(ConfigError, match=r"^data\.punctuation_split_rate = 0\.1 splits nothing"):
        PunctuationSplit(built, 0.1)
    PunctuationSplit(built, 0.0)
