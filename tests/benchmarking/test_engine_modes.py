"""The benchmark of the engine's ways: all answer the same requests, and what was measured is written."""

import json

import pytest
import torch

from deepseek_lab.benchmarking import engine_modes
from deepseek_lab.benchmarking.engine_modes import PLAIN, Row
from deepseek_lab.generation import GREEDY, Sampling
from talking_run import talking_run


def test_every_way_is_timed_and_written(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_modes, "ROWS", {"greedy": Row(1, GREEDY), "sampled": Row(3, Sampling())})
    monkeypatch.setattr(engine_modes, "NEW", 12)
    monkeypatch.setattr(engine_modes, "prompts", lambda run, n: torch.randint(256, (n, 5)).tolist())
    monkeypatch.setattr("deepseek_lab.benchmarking.interleaved.sgemm_peak", lambda: 1.0)
    run = str(talking_run(tmp_path / "run"))
    results = [engine_modes.measure(name, run, 2, lambda line: None) for name in ("greedy", "sampled")]
    for result in results:
        assert set(result["seconds"]) == {PLAIN, "batch_invariant", "drafts of 1"}
        assert result["tokens_a_step"][PLAIN] == pytest.approx(1)
        assert 1 <= result["tokens_a_step"]["drafts of 1"] <= 2
        assert 0 <= result["acceptance"]["drafts of 1"]["mtp/acceptance_1"] <= 1
    engine_modes.save(results, tmp_path)
    assert json.loads((tmp_path / "engine.json").read_text()) == results
    assert engine_modes.table(results).row_count == 6
