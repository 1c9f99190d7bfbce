"""Conversations and pairs of the hub's form in local folders, read as those of files."""

import json

import pytest

from deepseek_lab.config import DataError
from deepseek_lab.data.conversation_files import ConversationFiles
from deepseek_lab.data.hub_conversations import HubConversations, HubPairs
from deepseek_lab.data.preference_pairs import PairFiles


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def write(folder, rows):
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def messages(*texts):
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, texts, strict=False)]


def test_conversations_are_those_of_the_files(tmp_path):
    path = write(tmp_path, [{"messages": messages("q", "a")}, {"messages": messages("q", "a", "r", "b")}])
    ours = HubConversations.Config(name=path).build()
    assert list(ours.conversations()) == list(ConversationFiles.Config(path=path).build().conversations())
    assert ours.identity == HubConversations.Config(name=path).build().identity


def test_pairs_are_those_of_the_files(tmp_path):
    path = write(tmp_path, [{"chosen": messages("q", "a"), "rejected": messages("q", "b")}])
    assert list(HubPairs.Config(name=path).build().pairs()) == list(PairFiles.Config(path=path).build().pairs())


def test_a_row_that_is_none_is_named(tmp_path):
    path = write(tmp_path, [{"text": "x"}])
    with pytest.raises(DataError, match="row 0 has neither"):
        list(HubConversations.Config(name=path).build().conversations())
