"""Pairs of files and pairs by a hidden rule."""

import json

import pytest

from deepseek_lab.config import DataError
from deepseek_lab.data.conversation import Turn
from deepseek_lab.data.preference_pairs import EmbeddedPreferences, PairFiles, preferred_by_rule


def pairs(folder, *rows):
    (folder / "some.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return list(PairFiles.Config(path=str(folder)).build().pairs())


def messages(*texts):
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, texts, strict=False)]


def test_both_forms_of_a_row_are_read(tmp_path):
    plain, full = pairs(
        tmp_path,
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"chosen": messages("q", "good"), "rejected": messages("q", "bad")},
    )
    assert plain == full
    assert plain.chosen == (Turn("user", "q"), Turn("assistant", "good"))
    assert plain.rejected[-1].content == "bad"


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"chosen": messages("q", "a"), "rejected": messages("p", "b")}, "last answer alone"),
        ({"chosen": messages("q"), "rejected": messages("q")}, "last answer alone"),
        ({"chosen": messages("q", "a"), "rejected": messages("q", "a")}, "are the same"),
        ({"chosen": "a"}, "has no 'rejected'"),
    ],
)
def test_a_bad_row_is_named_with_its_cause(tmp_path, row, cause):
    with pytest.raises(DataError, match=f"some.jsonl, line 1.*{cause}"):
        pairs(tmp_path, row)


def test_the_rule_prefers_right_answers_first_and_few_words_then():
    right = "2 + 2 = 4"
    assert preferred_by_rule(right, right) > preferred_by_rule(f"Sure! {right}", right)
    assert preferred_by_rule(f"Sure! {right}", right) > preferred_by_rule("2 + 2 = 5", right)


def test_embedded_pairs_follow_the_rule_and_the_seed():
    config = EmbeddedPreferences.Config(n_pairs=140, wrong_share=0.25, seed=0)
    found = list(config.build().pairs())
    assert found == list(config.build().pairs())
    assert all(pair.chosen[0] == pair.rejected[0] for pair in found)
    sums = [p for p in found if p.chosen[0].content.startswith("What is ") and " + " in p.chosen[0].content]
    assert len(sums) > 3
    for pair in sums:
        a, b = (int(n) for n in pair.chosen[0].content.removeprefix("What is ").rstrip("?").split(" + "))
        right = f"{a} + {b} = {a + b}"
        better, worse = (preferred_by_rule(side[-1].content, right) for side in (pair.chosen, pair.rejected))
        assert better > worse
    conversations = list(config.build().conversations())
    assert [one.turns for one in conversations[:2]] == [found[0].chosen, found[0].rejected]
    assert conversations[0].held_out_with == conversations[1].held_out_with
