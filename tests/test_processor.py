"""What others take of the processor: read as Linux counts it, without this process and without those that give way."""

import os
import subprocess
import sys
import time

import pytest

from deepseek_lab import processor
from deepseek_lab.processor import Moment, free_cores, now, others, usable_cores


def moment(clock, everybody, ours=0.0, main=0.0):
    return Moment(clock, everybody, ours, main)


@pytest.fixture
def stat(tmp_path, monkeypatch):
    """A made-up /proc/stat of which cores 0 and 1 are ours."""

    def write(*rows):
        path = tmp_path / "stat"
        path.write_text("cpu  9 9 9 9 9 9 9 9 0 0\n" + "\n".join(rows) + "\nintr 5\n")
        monkeypatch.setattr(processor, "STAT", path)

    monkeypatch.setattr(processor, "_usable", lambda: {0, 1})
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    return write


def test_time_of_all_programs_on_our_cores_without_idle_disk_and_those_that_give_way(stat, monkeypatch):
    stat("cpu0 100 1000 50 7000 300 1 2 3 400 500", "cpu1 200 0 0 7000 0 0 0 0 0 0", "cpu2 9000 0 0 0 0 0 0 0 0 0")
    monkeypatch.setattr(os, "getpriority", lambda *_: 0)
    assert now().everybody == pytest.approx(1.56 + 2.0)
    monkeypatch.setattr(os, "getpriority", lambda *_: 5)
    assert now().everybody == pytest.approx(11.56 + 2.0), "a nice program competes with other nice ones"


def test_what_this_process_took_is_not_others():
    assert others(moment(10, 100, 50), moment(14, 110, 53)) == pytest.approx((10 - 3) / 4)
    assert others(moment(10, 100, 50), moment(14, 100.9, 51)) == 0.0, "clocks of two kinds differ by a tick"


def test_where_nobody_counts_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "STAT", tmp_path / "none")
    began = now()
    assert began.everybody is None
    assert others(began, now()) is None
    assert free_cores(None) is None


@pytest.mark.parametrize(("busy", "free"), [(0.0, None), (0.4, None), (0.6, 1), (1.0, 1), (2.0, 1), (7.0, 1)])
def test_cores_that_others_leave(monkeypatch, busy, free):
    monkeypatch.setattr(processor, "_usable", lambda: {0, 1})
    assert free_cores(busy) == free


def test_of_many_cores_most_stay(monkeypatch):
    monkeypatch.setattr(processor, "_usable", lambda: set(range(16)))
    assert [free_cores(busy) for busy in (1.1, 4.0, 15.6)] == [15, 12, 1]


@pytest.mark.skipif(not processor.STAT.exists(), reason="needs Linux's /proc")
def test_a_real_busy_program_is_seen():
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        since = now()
        time.sleep(0.6)
        seen = others(since, now())
    finally:
        other.kill()
        other.wait()
    assert seen > 0.3
    assert usable_cores() >= 1
