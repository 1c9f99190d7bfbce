"""Generated instructions: right answers, the same on every machine, held out by question."""

import re

from deepseek_lab.data.embedded_instructions import EmbeddedInstructions, library_facts


def conversations(n=700, seed=0):
    return list(EmbeddedInstructions.Config(n_conversations=n, seed=seed).build().conversations())


def test_the_answers_are_right():
    checked = 0
    for one in conversations():
        question, answer = one.turns[0].content, one.turns[1].content
        if numbers := re.fullmatch(r"(\d+) ([+*]) (\d+) = (\d+)", answer):
            a, sign, b, result = numbers.groups()
            assert int(result) == (int(a) + int(b) if sign == "+" else int(a) * int(b))
            assert a in question
            checked += 1
        elif word := re.fullmatch(r"(?:Spell (\w+) backwards\.|Reverse the word (\w+)\.)", question):
            assert answer == (word[1] or word[2])[::-1]
            checked += 1
    assert checked > 250


def test_they_depend_on_the_seed_alone():
    assert conversations() == conversations()
    assert conversations() != conversations(seed=1)
    assert all(one.held_out_with == one.turns[0].content for one in conversations(50))


def test_facts_come_from_the_standard_library():
    facts = dict(library_facts())
    assert "heap" in facts["heapq.heappush"].lower()
    assert len(facts) > 40
