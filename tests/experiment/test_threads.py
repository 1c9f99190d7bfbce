"""How many threads a run takes where nobody said: one for a small network, whatever was typed otherwise."""

import os

import pytest

from deepseek_lab import processor
from deepseek_lab.experiment import threads
from deepseek_lab.experiment.threads import SMALL, Threads, chosen_threads, default_threads, use_threads
from deepseek_lab.processor import Moment


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


BUSY = Moment(0.0, 0.0, 0.0, 0.0)


@pytest.fixture
def machine(monkeypatch):
    """A machine of four cores, of which others keep some busy."""

    def be(busy):
        monkeypatch.setattr(threads, "now", lambda: Moment(10.0, 10.0 * busy, 0.0, 0.0))
        monkeypatch.setattr(processor, "_usable", lambda: set(range(4)))
        monkeypatch.setattr(threads.torch, "get_num_threads", lambda: 4)
        monkeypatch.delenv("DEEPSEEK_LAB_LIFELINE", raising=False)

    return be


@pytest.mark.parametrize(("busy", "number"), [(0.0, None), (0.3, None), (1.0, 3), (4.0, 1)])
def test_a_larger_network_takes_the_cores_that_others_leave(machine, busy, number):
    machine(busy)
    chosen = chosen_threads(None, None, None, BUSY)
    assert chosen.number == number
    assert bool(chosen.why) == (number is not None)
    if number == 3:
        assert chosen.why == "3: other programs keep 1.0 of 4 cores busy; trainer.n_threads=4 takes all"


def test_a_run_that_goes_on_keeps_its_threads_unless_a_person_says_otherwise(machine, monkeypatch):
    machine(3.0)
    assert chosen_threads(None, 2, None, BUSY) == Threads(2, "2, as the run began, so that its numbers stay")
    assert chosen_threads(None, 2, 1, BUSY).number == 2
    assert chosen_threads(3, 2, None, BUSY) == Threads(3)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert chosen_threads(None, 2, None, BUSY) == Threads(None)
    monkeypatch.setenv("DEEPSEEK_LAB_LIFELINE", "/a sweep deals them out")
    assert chosen_threads(None, 2, None, BUSY).number == 2


def test_a_number_that_would_be_taken_anyway_needs_no_word(machine):
    machine(0.0)
    assert chosen_threads(None, 4, None, BUSY) == Threads(4)


def test_jobs_of_a_sweep_and_gpus_do_not_look_at_others(machine, monkeypatch):
    machine(3.0)
    assert chosen_threads(None, None, None, None) == Threads(None)
    monkeypatch.setenv("DEEPSEEK_LAB_LIFELINE", "/a sweep deals them out")
    assert chosen_threads(None, None, None, BUSY) == Threads(None)
