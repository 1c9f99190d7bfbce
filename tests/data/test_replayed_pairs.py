"""A tenth of what a reward model goes on learning from is old, each old pair at most once."""

import json
from pathlib import Path
from typing import Any

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.data.replayed_pairs import ReplayedPairs


def pairs(path: Path, n: int, word: str) -> str:
    rows = [{"prompt": f"{word} {i}", "chosen": "good", "rejected": "bad"} for i in range(n)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def questions(folder: Path, n_new: int = 90, n_old: int = 50, **values: Any) -> list[str]:
    new, old = pairs(folder / "new.jsonl", n_new, "new"), pairs(folder / "old.jsonl", n_old, "old")
    corpus = ReplayedPairs.Config(new=new, old=[old], **values).build()
    return [pair.chosen[0].content for pair in corpus.pairs()]


def test_a_tenth_is_old_and_none_comes_twice(tmp_path: Path) -> None:
    asked = questions(tmp_path)
    old = [question for question in asked if question.startswith("old")]
    assert (len(asked), len(old), len(set(old))) == (100, 10, 10)
    assert [question for question in asked if question.startswith("new")] == [f"new {i}" for i in range(90)]
    assert sum(question.startswith("old") for question in asked[:50]) == 5, "spread evenly"


def test_the_same_again_for_a_seed_and_others_for_another(tmp_path: Path) -> None:
    assert questions(tmp_path) == questions(tmp_path)
    assert questions(tmp_path) != questions(tmp_path, seed=1)


def test_no_more_than_there_are_and_none_where_none_is_asked_for(tmp_path: Path) -> None:
    assert len(questions(tmp_path, n_old=3)) == 93
    assert len(questions(tmp_path, share=0.0)) == 90


@pytest.mark.parametrize(("values", "field"), [({"share": 1.0}, "share"), ({"old": []}, "old"), ({"seed": -1}, "seed")])
def test_bad_configs(values: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as error:
        ReplayedPairs.Config(**{"new": "a", "old": ["b"], **values})
    assert error.value.field == field
