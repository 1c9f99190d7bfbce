"""Who runs where, and with how many threads."""

import pytest

from deepseek_lab.sweep.slots import THREADS, VISIBLE, Needs, Slots, visible_gpus

ONE, TWO = Needs(), Needs(devices=2)
GPU, TWO_GPUS = Needs(gpu=True), Needs(devices=2, gpu=True)


@pytest.fixture(autouse=True)
def no_threads_typed(monkeypatch):
    monkeypatch.delenv(THREADS, raising=False)


def filled(slots, need):
    """All slots that jobs of one kind can take at the same time."""
    taken = []
    while (slot := slots.take(need)) is not None:
        taken.append(slot)
    return taken


@pytest.mark.parametrize(
    ("need", "n_jobs", "cores", "typed", "at_once", "threads"),
    [
        (ONE, 8, 2, None, 2, 1),  # one a core
        (ONE, 3, 8, None, 3, 2),  # fewer jobs than cores: the cores are divided
        (ONE, 8, 8, 2, 2, 4),
        (ONE, 8, 2, 5, 5, 1),  # more than cores, as typed
        (TWO, 4, 8, None, 4, 1),
        (TWO, 1, 8, None, 1, 4),
        (TWO, 4, 8, 2, 2, 2),
        (TWO, 2, 2, None, 1, 1),
        (TWO, 2, 2, 1, 1, 1),
        (Needs(n_threads=4), 8, 8, None, 2, 1),  # its own threads, set in its process
        (Needs(devices=4), 1, 2, None, 1, 1),  # more than there are: it runs alone
    ],
)
def test_cores_are_divided(need, n_jobs, cores, typed, at_once, threads):
    slots = Slots([need] * n_jobs, [], cores, typed)
    taken = filled(slots, need)
    assert len(taken) == at_once
    assert {slot.environment[THREADS] for slot in taken} == {str(threads)}
    assert all(VISIBLE not in slot.environment for slot in taken)


def test_each_job_gets_gpus_of_its_own():
    slots = Slots([GPU] * 3 + [TWO_GPUS], ["3", "5", "7"], 12, None)
    first, second = slots.take(TWO_GPUS), slots.take(GPU)
    assert first.environment == {VISIBLE: "3,5", THREADS: "4"}
    assert second.environment[VISIBLE] == "7"
    assert slots.take(GPU) is None
    slots.give_back(first)
    assert slots.take(GPU).environment[VISIBLE] == "3"
    assert slots.take(TWO_GPUS) is None, "one is left, two are needed"


def test_gpus_are_shared_evenly_where_more_jobs_are_asked_for():
    slots = Slots([GPU] * 8, ["0", "1"], 8, 4)
    assert sorted(slot.environment[VISIBLE] for slot in filled(slots, GPU)) == ["0", "0", "1", "1"]
    assert len(filled(Slots([GPU] * 8, ["0", "1", "2"], 8, 1), GPU)) == 1


def test_a_smaller_number_of_threads_that_was_typed_stands(monkeypatch):
    monkeypatch.setenv(THREADS, "2")
    assert Slots([ONE], [], 8, None).take(ONE).environment[THREADS] == "2"
    assert Slots([ONE] * 8, [], 8, None).take(ONE).environment[THREADS] == "1"


def test_without_gpus_jobs_that_would_like_some_share_the_cores():
    assert len(filled(Slots([GPU] * 4, [], 2, None), GPU)) == 2


@pytest.mark.parametrize(
    ("typed", "count", "names"), [("", 2, ["0", "1"]), ("4,GPU-ab", 2, ["4", "GPU-ab"]), ("", 0, [])]
)
def test_gpus_are_named_as_cuda_names_them(monkeypatch, typed, count, names):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.setenv(VISIBLE, typed)
    assert visible_gpus() == names
