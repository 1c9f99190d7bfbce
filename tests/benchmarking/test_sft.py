"""The benchmark of fine-tuning: both sides learn the same tokens, to the same gradients."""

import pytest

pytest.importorskip("trl")

from deepseek_lab.benchmarking import sft_contestants
from deepseek_lab.benchmarking.sft import measure, table


@pytest.mark.parametrize("name", ["llama_masked", pytest.param("llama_packed", marks=pytest.mark.slow)])
def test_the_first_step_has_the_gradients_of_trl(name, monkeypatch):
    monkeypatch.setattr(sft_contestants, "EXAMPLES", 3)
    found = measure(name, 1, lambda line: None)
    assert 0 < found["gradients_apart"] < 1e-5
    lengths = [len(said) for _, said in sft_contestants.examples()]
    assert name != "llama_masked" or found["supervised_tokens"] == sum(lengths)
    assert table([found]).row_count == 1
