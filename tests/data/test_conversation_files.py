"""Conversations of jsonl files, and what is said of a line that is none."""

import json

import pytest

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.conversation import Turn
from deepseek_lab.data.conversation_files import ConversationFiles


def corpus(folder, *rows):
    (folder / "some.jsonl").write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return ConversationFiles.Config(path=str(folder)).build()


def test_both_forms_of_a_row_are_read(tmp_path):
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    found = corpus(tmp_path, {"messages": messages}, "", {"prompt": "a", "completion": "b"}).conversations()
    first, second = found
    assert first.turns == second.turns == (Turn("user", "a"), Turn("assistant", "b"))
    assert first.held_out_with == second.held_out_with, "the same question is held out, or it is not"
    assert first.name != second.name


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
        ({"text": "x"}, "neither a list 'messages' nor"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role of system, user, assistant"),
        ({"messages": [{"role": "user", "content": 3}]}, "text 'content'"),
        ({"messages": [{"role": "user", "content": "x"}]}, "without an answer"),
    ],
)
def test_a_bad_line_is_named_with_its_cause(tmp_path, row, cause):
    with pytest.raises(DataError, match=f"some.jsonl, line 2.*{cause}"):
        list(corpus(tmp_path, {"prompt": "a", "completion": "b"}, row).conversations())


def test_a_path_without_files_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no \.jsonl file"):
        ConversationFiles.Config(path=str(tmp_path)).build()


def test_identity_is_that_of_the_contents(tmp_path):
    before = corpus(tmp_path, {"prompt": "a", "completion": "b"}).identity
    assert corpus(tmp_path, {"prompt": "a", "completion": "b"}).identity == before
    assert corpus(tmp_path, {"prompt": "a", "completion": "c"}).identity != before
