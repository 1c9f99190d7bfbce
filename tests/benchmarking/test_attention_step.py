"""The benchmark of attention steps: its three ways are checked against each other, and it writes what it measured."""

import json

import pytest

from deepseek_lab.benchmarking import attention_step
from deepseek_lab.benchmarking.attention_step import ABSORBED, EXPANDED, FULL, THEIRS
from deepseek_lab.generation.lean.latent import LeanLatent


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(attention_step, "_TOKENS_A_ROUND", 32)
    monkeypatch.setattr("deepseek_lab.benchmarking.interleaved.sgemm_peak", lambda: 1.0)


def test_every_way_is_timed_drawn_and_written(tmp_path):
    results = [attention_step.measure(name, 2, lambda line: None) for name in ("1x16", "2x16")]
    assert all(set(result["seconds"]) == {ABSORBED, EXPANDED, FULL, THEIRS} for result in results)
    attention_step.save(results, tmp_path)
    assert json.loads((tmp_path / "attention_step.json").read_text()) == results
    assert (tmp_path / "attention_step.png").exists()
    assert attention_step.table(results).row_count == 2


def test_a_way_with_other_results_is_no_comparison(monkeypatch):
    right = LeanLatent.__call__
    monkeypatch.setattr(LeanLatent, "__call__", lambda self, *inputs: 2 * right(self, *inputs))
    with pytest.raises(AssertionError):
        attention_step.measure("1x16", 1, lambda line: None)
