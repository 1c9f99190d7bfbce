"""Ratios by rounds, their interval, and the table of benchmarks that time a few contestants."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from deepseek_lab.benchmarking import paired

RESULT = {"row": "wide", "seconds": {"ours": [1.0, 2.0, 3.0], "theirs": [2.0, 2.0, 12.0]}}


def test_ratios_are_taken_within_a_round():
    assert paired.ratios(RESULT["seconds"], "theirs", "ours") == [2.0, 1.0, 4.0]


def test_the_interval_is_that_of_the_median():
    """Of 101 draws of a normal, the median's standard error is 1.2533/√n."""
    values = np.random.default_rng(3).normal(10, 1, 101)
    low, high = paired.interval(values)
    assert low < np.median(values) < high
    assert high - low == pytest.approx(2 * 1.645 * 1.2533 / 101**0.5, rel=0.35)
    assert paired.interval([1.5]) == (1.5, 1.5)


def test_table_and_file(tmp_path):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(paired.table("Two", [RESULT], "ours"))
    text = console.export_text()
    assert "theirs" in text
    assert "2,000.0" in text
    paired.save([RESULT], tmp_path / "new" / "two.json")
    assert json.loads((tmp_path / "new" / "two.json").read_text()) == [RESULT]
