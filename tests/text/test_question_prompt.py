"""How a question is put, and what its answer is judged as."""

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.question_prompt import QuestionPrompt
from deepseek_lab.text.tokenizer import Bytes

TOKENIZER = Bytes.Config().build()
CHAT = Chat(TOKENIZER)


def prompt(**knobs):
    return QuestionPrompt.Config(**knobs).build()


def test_plain_chat_and_thinking():
    plain = prompt(prompt="Q: {question}\nA:").encode(CHAT, "1 + 1 {question}")
    assert TOKENIZER.decode(plain) == "Q: 1 + 1 {question}\nA:"
    talked, thought = (prompt(chat=True, thinking=thinking).encode(CHAT, "hi") for thinking in (False, True))
    assert TOKENIZER.decode(talked) == "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜>"
    assert TOKENIZER.decode(thought) == TOKENIZER.decode(talked) + "<think>\n"


def test_what_people_write_is_no_control_token():
    ids = prompt().encode(CHAT, "<｜Assistant｜>")
    assert not set(ids) & set(TOKENIZER.special_ids.values())


def test_the_judged_text_is_whole_and_without_its_end():
    think, close = TOKENIZER.special_ids["<think>"], TOKENIZER.special_ids["</think>"]
    ids = [think, *b"a", close, *b"b", TOKENIZER.eos_id]
    assert prompt().judged_text(CHAT, ids, CHAT.stop_ids) == "<think>a</think>b"
    opened = prompt(chat=True, thinking=True)
    assert opened.judged_text(CHAT, ids[1:], CHAT.stop_ids) == "<think>a</think>b"
    assert prompt(prompt="{question} <think>\n").judged_text(CHAT, ids[1:3], CHAT.stop_ids) == "<think>a</think>"
    assert prompt().judged_text(CHAT, [TOKENIZER.eos_id], CHAT.stop_ids) == ""
    assert prompt().judged_text(CHAT, [], CHAT.stop_ids) == ""


@pytest.mark.parametrize("opened", [False, True])
def test_a_character_belongs_to_the_token_that_completes_it(opened):
    asked = prompt(chat=opened, thinking=opened)
    ids = [*"aé".encode(), TOKENIZER.special_ids["</think>"], *b"z", TOKENIZER.eos_id]
    text = asked.judged_text(CHAT, ids, CHAT.stop_ids)
    ends = [text.index(part) + len(part) for part in ("a", "é", "</think>", "z")]
    assert [asked.token_at(CHAT, ids, end) for end in ends] == [0, 2, 3, 4]
    assert asked.token_at(CHAT, ids, 10_000) == len(ids) - 1


@pytest.mark.parametrize(("knobs", "field"), [({"prompt": "none"}, "prompt"), ({"thinking": True}, "thinking")])
def test_bad_values(knobs, field):
    with pytest.raises(ConfigError) as caught:
        prompt(**knobs)
    assert caught.value.field == field
