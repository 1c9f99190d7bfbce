"""The decoding benchmark compares equal tokens, says so when they differ, and writes what it measured."""

import json

import pytest

pytest.importorskip("transformers")

from deepseek_lab.benchmarking import decoding
from deepseek_lab.benchmarking.decoding import ALONE, COMPILED, OURS, THEIRS, THEIRS_COMPILED, Row


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(decoding, "ROWS", {"steps": Row(2, 5, 3), "group": Row(3, 5, 2, group=True)})
    monkeypatch.setattr("deepseek_lab.benchmarking.interleaved.sgemm_peak", lambda: 1.0)


def test_every_contestant_is_timed_and_written(tmp_path):
    results = [decoding.measure(name, 2, lambda line: None) for name in ("steps", "group")]
    assert [set(result["seconds"]) for result in results] == [{OURS, THEIRS}, {OURS, THEIRS, ALONE}]
    assert [result["new"] for result in results] == [6, 6]
    assert all(len(ratios) == 2 for result in results for ratios in result["ratios"].values())
    decoding.save(results, tmp_path)
    assert json.loads((tmp_path / "decoding.json").read_text()) == results
    assert decoding.table(results).row_count == 3


@pytest.mark.slow
def test_compiled_steps_give_the_same_tokens_and_are_held_against_each_other(monkeypatch):
    monkeypatch.setattr(decoding, "ROWS", {"one": Row(1, 5, 3)})
    result = decoding.measure("one", 2, lambda line: None, compiled=True)
    ours, theirs = result["seconds"][COMPILED], result["seconds"][THEIRS_COMPILED]
    assert result["ratios"][THEIRS_COMPILED] == [b / a for a, b in zip(ours, theirs, strict=True)]
    assert decoding.table([result]).row_count == 3


def test_other_tokens_are_no_comparison(monkeypatch):
    monkeypatch.setattr(decoding, "their_steps", lambda *a: lambda _: -1.0)
    with pytest.raises(ValueError, match="tokens differ"):
        decoding.measure("steps", 1, lambda line: None)
