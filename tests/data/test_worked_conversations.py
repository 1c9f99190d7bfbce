"""Cold-start conversations: every answer right and behind a clean thought; joined with others end to end."""

import json

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.data.conversation_files import ConversationFiles
from deepseek_lab.data.joined_conversations import JoinedConversations
from deepseek_lab.data.standard_library import StandardLibrary
from deepseek_lab.data.worked_conversations import WorkedConversations
from deepseek_lab.tasks.arithmetic import Arithmetic
from deepseek_lab.tasks.countdown import Countdown

TASKS = {
    "sums": Arithmetic.Config(operation="sum", min_terms=3, max_terms=4, max_digits=1),
    "countdown": Countdown.Config(min_numbers=3, max_numbers=3, max_number=9),
}


def worked(n_questions=40):
    return WorkedConversations.Config(tasks=TASKS, n_questions=n_questions)


def test_all_answers_are_right_think_and_speak_one_language():
    tasks = {name: config.build() for name, config in TASKS.items()}
    answers = {e.question: e for task in tasks.values() for e in task.examples("train", 40)}
    conversations = list(worked().build().conversations())
    assert len(conversations) == 80
    for one in conversations:
        asked, said = one.turns
        task = tasks[one.name.partition("#")[0]]
        verdict = task.rewards([answers[asked.content]], [said.content])[0]
        assert verdict.total == verdict.parts["format"] == verdict.parts["language"] == 1.0
        assert one.held_out_with == asked.content


def test_sources_are_joined_in_the_order_of_their_names_under_names_of_their_own(tmp_path):
    file = tmp_path / "kept.jsonl"
    rows = [{"prompt": f"q{n}", "completion": f"a{n}"} for n in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    joined = JoinedConversations.Config(sources={"b": worked(2), "a": ConversationFiles.Config(path=str(file))}).build()
    found = list(joined.conversations())
    assert [one.turns[0].content for one in found[:3]] == ["q0", "q1", "q2"]
    assert len(found) == 3 + 4
    assert len({one.name for one in found}) == len(found)
    assert [one.held_out_with for one in found[:3]] == ["q0", "q1", "q2"]
    assert joined.identity != worked(2).build().identity


def test_only_conversations_can_be_joined():
    with pytest.raises(ConfigError, match=r"sources\.code holds no conversations"):
        JoinedConversations.Config(sources={"code": StandardLibrary.Config()}).build()
    with pytest.raises(ConfigError, match="one source"):
        JoinedConversations.Config(sources={})
