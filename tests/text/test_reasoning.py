"""Thought and answer apart, the same however the text is cut."""

import pytest

from deepseek_lab.text.reasoning import Parts, ReasoningSplitter, split_reasoning

CASES = [
    ("<think>\nhm, 2\n</think>\n\nfour", False, "hm, 2", "four"),
    (" \n<think>a</think>b", False, "a", "b"),
    ("a\n b </think> c", True, "a\n b", " c"),
    ("never closed ", True, "never closed", ""),
    ("<think>never closed", False, "never closed", ""),
    ("<think></think>x", False, "", "x"),
    ("no thought, though <think>tags</think> are named", False, "", "no thought, though <think>tags</think> are named"),
    ("<thin", False, "", "<thin"),
    ("<thinker>", False, "", "<thinker>"),
    ("  plain\n", False, "", "  plain\n"),
    ("<think>a </thin b</think>\n\n\n c\n\n", False, "a </thin b", " c\n\n"),
    ("", False, "", ""),
]


@pytest.mark.parametrize(("text", "thinking", "reasoning", "answer"), CASES)
@pytest.mark.parametrize("cut", [1, 2, 5, 100])
def test_parts(text, thinking, reasoning, answer, cut):
    splitter = ReasoningSplitter(thinking)
    parts = Parts()
    for i in range(0, len(text), cut):
        parts += splitter.feed(text[i : i + cut])
    assert parts + splitter.finish() == Parts(reasoning, answer)
    assert split_reasoning(text, thinking) == Parts(reasoning, answer)


def test_a_thought_is_passed_on_while_it_grows():
    splitter = ReasoningSplitter()
    assert splitter.feed("<think>\nfirst") == Parts(reasoning="first")
    assert splitter.thinking
    assert splitter.feed(" then </th") == Parts(reasoning=" then")
    assert splitter.feed("ink>done") == Parts(answer="done")
    assert not splitter.thinking
