"""How many threads a run takes where nobody said: one for a small network, whatever was typed otherwise."""

import os

import pytest

from deepseek_lab.experiment import threads
from deepseek_lab.experiment.threads import SMALL, default_threads, use_threads


@pytest.fixture(autouse=True)
def _untyped(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("flops", "on_cpu", "expected"), [(0.1 * SMALL, True, 1), (10 * SMALL, True, None), (0.1 * SMALL, False, None)]
)
def test_a_small_network_on_a_cpu_takes_one(flops, on_cpu, expected):
    assert default_threads(flops, on_cpu) == expected


def test_what_was_typed_stands(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert default_threads(0.1 * SMALL, on_cpu=True) is None


def test_ranks_take_as_many_and_none_changes_nothing(monkeypatch):
    asked = []
    monkeypatch.setattr(threads.torch, "set_num_threads", asked.append)
    use_threads(None)
    assert "OMP_NUM_THREADS" not in os.environ
    use_threads(3)
    assert (asked, os.environ["OMP_NUM_THREADS"]) == ([3], "3")
