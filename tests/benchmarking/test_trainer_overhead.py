"""A run beside a bare loop: blocks take turns, both do the same steps, and another loop is found out."""

import pytest

from deepseek_lab.benchmarking import trainer_overhead
from deepseek_lab.benchmarking.trainer_overhead import BARE, RUN, BareLoop


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(trainer_overhead, "FEWEST", 1)
    monkeypatch.setattr(trainer_overhead, "BLOCK", 1)
    words = "model=nano data.seq_len=32 data.batch_size=2 tokenizer=bytes data.corpus.folder=src/deepseek_lab/optim"
    monkeypatch.setitem(trainer_overhead.ROWS, "micro", words)


def test_both_take_the_same_steps(tmp_path):
    result = trainer_overhead.measure("micro", 2, lambda line: None)
    assert {name: len(values) for name, values in result["seconds"].items()} == {RUN: 2, BARE: 2}
    trainer_overhead.save([result], tmp_path)
    assert (tmp_path / "trainer_overhead.json").is_file()


def test_a_loop_that_does_less_is_found_out(monkeypatch):
    monkeypatch.setattr(BareLoop, "step", lambda self: None)
    with pytest.raises(ValueError, match="does not do the run's work"):
        trainer_overhead.measure("micro", 1, lambda line: None)
