"""Tokenizers lose nothing: text round-trips, bytes are counted, special tokens never come out of plain text."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.text.tokenizer import (
    END_OF_TEXT,
    SMALLEST_VOCABULARY,
    SPECIAL_TOKENS,
    BytePairEncoding,
    Bytes,
    Tokenizer,
    byte_alphabet,
)

CORPUS = ["def add(left, right):\n    return left + right\n" * 20, "naïve café — 東京 🙂\r\n\ttabs" * 5]
TEXTS = [
    "",
    " ",
    "\n\n\n  \t x",
    "a\r\nb\rc",
    "\x00\x01\x7f",
    "déjà vu, 東京タワー, 🙂🙃, \u202e, \ufeff",
    "<think>plain</think> " + "".join(SPECIAL_TOKENS),
    "".join(chr(point) for point in range(1, 0x3000, 7)),
]


def build(kind):
    if kind == "bytes":
        return Bytes.Config().build(CORPUS)
    cuts = "deepseek_v3" if kind == "bpe_v3" else "gpt2"
    return BytePairEncoding.Config(vocab_size=290, pre_tokenizer=cuts).build(CORPUS)


@pytest.fixture(params=["bpe", "bpe_v3", "bytes"])
def tokenizer(request):
    return build(request.param)


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_decodes_to_itself(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.to_bytes(ids) == text.encode()


@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_tokens_add_up_to_the_bytes_of_the_text(tokenizer, text):
    token_bytes = tokenizer.token_bytes()
    assert token_bytes.shape == (tokenizer.vocab_size,)
    assert token_bytes[np.array(tokenizer.encode(text), dtype=int)].sum() == len(text.encode())


def test_special_tokens_stand_for_no_bytes_and_never_come_from_text(tokenizer):
    assert set(tokenizer.special_ids) == set(SPECIAL_TOKENS)
    assert tokenizer.special_ids[END_OF_TEXT] == tokenizer.eos_id
    special = set(tokenizer.special_ids.values())
    assert all(tokenizer.token_bytes()[index] == 0 for index in special)
    assert special.isdisjoint(tokenizer.encode("".join(SPECIAL_TOKENS)))


def test_decode_names_or_skips_special_tokens_and_passes_over_unknown_ids(tokenizer):
    ids = [*tokenizer.encode("ab"), tokenizer.eos_id, tokenizer.vocab_size + 5]
    assert tokenizer.decode(ids) == "ab" + END_OF_TEXT
    assert tokenizer.decode(ids, skip_special=True) == "ab"


def test_bytes_that_are_no_utf8_decode_to_the_replacement_character():
    assert build("bytes").decode([0xFF, ord("a")]) == "\ufffda"


def test_the_byte_tokenizer_gives_each_byte_its_own_number():
    text = "é\x00🙂z"
    assert build("bytes").encode(text) == list(text.encode())
    assert build("bytes").vocab_size == SMALLEST_VOCABULARY == Bytes.Config().largest_vocabulary


def test_the_alphabet_is_that_of_the_tokenizers_library():
    from tokenizers import pre_tokenizers

    letters = byte_alphabet()
    assert sorted(letters) == sorted(pre_tokenizers.ByteLevel.alphabet())
    shown = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str("é \n")
    assert [token for token, _ in shown] == ["".join(letters[byte] for byte in "é \n".encode())]


def test_pairs_are_learnt_up_to_the_wanted_size():
    trained = build("bpe")
    assert trained.vocab_size == 290
    assert len(trained.encode(CORPUS[0])) < len(CORPUS[0]) / 2
    assert trained.encode_batch(["def", "return"]) == [trained.encode("def"), trained.encode("return")]


def test_a_poor_corpus_gives_fewer_tokens_than_the_bound():
    config = BytePairEncoding.Config(vocab_size=1000)
    assert config.build(["ab ab ab"]).vocab_size < config.largest_vocabulary == 1000


def test_saving_and_loading_keeps_everything(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert [loaded.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert (loaded.eos_id, loaded.vocab_size) == (tokenizer.eos_id, tokenizer.vocab_size)
    assert loaded.fingerprint() == tokenizer.fingerprint()


def test_a_foreign_file_is_refused_by_name(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(DataError, match=r"tokenizer\.json is not a saved tokenizer"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_training_gives_the_same_tokenizer_in_another_process_with_other_threads():
    code = (
        "from deepseek_lab.text.tokenizer import BytePairEncoding as B;"
        f"print(B.Config(vocab_size=290).build({CORPUS!r}).fingerprint())"
    )
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "7", "PYTHONUTF8": "1"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == build("bpe").fingerprint()


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ConfigError, match="vocab_size must be at least 266"):
        BytePairEncoding.Config(vocab_size=265)
