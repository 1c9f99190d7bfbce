"""One token a character, tags whole; any text has an encoding, and nothing in it becomes a control token."""

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.text.characters import TAGS, Characters
from deepseek_lab.text.chat import Chat, Message
from deepseek_lab.text.tokenizer import END_OF_TEXT, SPECIAL_TOKENS, Tokenizer

ANSWER = "12 + 7 = ?\n<think>12+7=19</think><answer>19</answer>"


@pytest.fixture
def tokenizer():
    return Characters.Config().build()


@pytest.mark.parametrize(
    "text", ["", ANSWER, "<thin", "</think", "<<think>>", "naïve 東京 🙂", "".join(SPECIAL_TOKENS)]
)
def test_any_text_decodes_to_itself_and_holds_no_control_token(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.to_bytes(ids) == text.encode()
    assert set(tokenizer.special_ids.values()).isdisjoint(ids)


def test_a_character_is_a_token_and_a_tag_is_one(tokenizer):
    tags = sum(map(len, TAGS))
    assert len(tokenizer.encode(ANSWER)) == len(ANSWER) - tags + len(TAGS)
    assert tokenizer.encode("<think>")[0] == 256
    assert len(tokenizer.encode("<thinking>")) == len("<thinking>"), "only a whole tag is a tag"


def test_a_decoded_answer_keeps_its_tags_without_its_end(tokenizer):
    ids = [*tokenizer.encode(ANSWER), tokenizer.eos_id]
    assert tokenizer.decode(ids, skip_special=True) == ANSWER
    assert tokenizer.decode(ids) == ANSWER + END_OF_TEXT


def test_the_vocabulary_is_what_the_config_promises_and_survives_saving(tokenizer, tmp_path):
    assert tokenizer.vocab_size == Characters.Config().largest_vocabulary == 268
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.encode(ANSWER) == tokenizer.encode(ANSWER)
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert Characters.Config(words=["ab"]).build().vocab_size == Characters.Config(words=["ab"]).largest_vocabulary


def test_the_longer_of_two_words_wins_and_none_is_characters_alone():
    assert len(Characters.Config(words=["ab", "abc"]).build().encode("abcab")) == 2
    assert len(Characters.Config(words=[]).build().encode("<think>")) == 7


def test_the_chat_template_opens_a_thought_with_the_tag(tokenizer):
    ids = Chat(tokenizer).encode([Message(role="user", content="1 + 1 = ?")], thinking=True)
    assert 256 in ids
    assert tokenizer.decode(ids).endswith("<think>\n")


@pytest.mark.parametrize("words", [["a"], ["a b"], ["ab", "ab"], ["é!"], [""]])
def test_what_is_no_word_is_refused(words):
    with pytest.raises(ConfigError, match="words"):
        Characters.Config(words=words)
