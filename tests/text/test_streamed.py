"""Text from tokens one at a time: equal to all at once, no half character, no piece of a stop string."""

import random

import pytest

from deepseek_lab.text.streamed import Detokeniser, StopStrings, held_back
from deepseek_lab.text.tokenizer import BytePairEncoding, Bytes

BYTES = Bytes.Config().build()
TEXTS = ["plain", "naïve — 深度求索 🐳🐳", "e\u0301 \u200d family 👨‍👩‍👧", ""]


@pytest.fixture(scope="module")
def bpe():
    return BytePairEncoding.Config(vocab_size=400).build(TEXTS * 5)


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_add_up_and_each_is_whole_characters(text, bpe):
    for tokenizer in (BYTES, bpe):
        stream = Detokeniser(tokenizer)
        pieces = [stream.feed(token) for token in tokenizer.encode(text)]
        assert "\ufffd" not in "".join(pieces)
        assert "".join(pieces) + stream.finish() == text


def test_any_bytes_become_what_the_tokenizer_makes_of_all_of_them():
    source = random.Random(1)
    for _ in range(200):
        ids = [source.choice([0x20, 0xF0, 0x9F, 0x90, 0xB3, 0xC3, 0xA9, 0xFF, 0x80]) for _ in range(12)]
        stream = Detokeniser(BYTES)
        assert "".join(map(stream.feed, ids)) + stream.finish() == BYTES.decode(ids)


def test_control_tokens_are_silent_unless_named():
    ids = [BYTES.special_ids["<think>"], *BYTES.encode("a"), BYTES.eos_id]
    assert "".join(map(Detokeniser(BYTES).feed, ids)) == "a"
    assert "".join(map(Detokeniser(BYTES, ["<think>"]).feed, ids)) == "<think>a"


def test_a_character_that_a_control_token_cuts_is_said_before_it():
    stream = Detokeniser(BYTES, ["</think>"])
    assert [stream.feed(i) for i in (0xF0, BYTES.special_ids["</think>"], 0x61)] == ["", "\ufffd</think>", "a"]


@pytest.mark.parametrize("cut", [1, 2, 3, 7])
@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("one END two", ["END"], "one "),
        ("aab", ["ab"], "a"),
        ("ababac", ["abac"], "ab"),
        ("xEN", ["END"], "xEN"),
        ("a\n\nb", ["\n\n", "b"], "a"),
        ("abc", ["bc", "b"], "a"),
        ("no stop", [], "no stop"),
    ],
)
def test_text_ends_before_the_first_stop_string_however_it_is_cut(text, stops, shown, cut):
    stream = StopStrings(stops)
    pieces = [stream.feed(text[i : i + cut]) for i in range(0, len(text), cut)]
    assert "".join(pieces) + stream.finish() == shown
    assert stream.found == (shown != text)


def test_only_what_may_yet_become_a_stop_string_waits():
    stream = StopStrings(["END"])
    assert stream.feed("abcE") == "abc"
    assert stream.feed("x") == "Ex"
    assert held_back("xEN", ["END", "N!"]) == 2
    with pytest.raises(ValueError, match="no character"):
        StopStrings([""])


def test_ids_beyond_the_tokenizer_stand_for_nothing():
    assert "".join(map(Detokeniser(BYTES).feed, [*BYTES.encode("a"), 5000, *BYTES.encode("b")])) == "ab"
