"""A response from its tokens: stop strings across tokens, thought and answer, nothing of control tokens."""

import pytest

from deepseek_lab.text.reasoning import Parts
from deepseek_lab.text.response import ResponseText
from deepseek_lab.text.tokenizer import Bytes

BYTES = Bytes.Config().build()
THINK, THOUGHT = BYTES.special_ids["<think>"], BYTES.special_ids["</think>"]


def said(ids, **settings):
    text = ResponseText(BYTES, **settings)
    parts = Parts()
    for token in ids:
        parts += text.feed(token)
    return parts + text.finish(), text.stopped


RESPONSE = [THINK, *BYTES.encode("\nhm é\n"), THOUGHT, *BYTES.encode("\n\nyes 🐳"), BYTES.eos_id]


def test_parts_of_a_response():
    assert said(RESPONSE) == (Parts("hm é", "yes 🐳"), False)
    assert said(RESPONSE[1:], thinking=True) == (Parts("hm é", "yes 🐳"), False)
    assert said(RESPONSE, split=False) == (Parts("", "\nhm é\n\n\nyes 🐳"), False)
    whole = "<think>\nhm é\n</think>\n\nyes 🐳"
    assert said(RESPONSE, split=False, ends=[BYTES.eos_id]) == (Parts("", whole), False)
    assert said(RESPONSE, split=False, ends=[]) == (Parts("", whole + "<｜end▁of▁sentence｜>"), False)


def test_a_control_token_is_a_stop_string_too():
    begun = Parts("", "<think>\nhm é\n")
    assert said(RESPONSE, stops=["</think>"], split=False, ends=[BYTES.eos_id]) == (begun, True)
    assert said(RESPONSE, stops=["</think>"], split=False) == (Parts("", "\nhm é\n"), True)
    ids = [*BYTES.encode("a"), BYTES.special_ids["<｜User｜>"], *BYTES.encode("b")]
    assert said(ids, stops=["<｜User｜>"]) == (Parts("", "a"), True)


@pytest.mark.parametrize(
    ("stops", "parts"),
    [
        (["s 🐳"], Parts("hm é", "ye")),
        (["m é"], Parts("h", "")),
        (["never", "🐳"], Parts("hm é", "yes ")),
        (["</think>"], Parts("hm é", "")),
    ],
)
def test_it_ends_before_a_stop_string(stops, parts):
    assert said(RESPONSE, stops=stops) == (parts, True)


def test_a_cut_off_character_is_said_at_the_end():
    assert said(RESPONSE[:-2]) == (Parts("hm é", "yes \ufffd"), False)
