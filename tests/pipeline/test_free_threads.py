"""A step of a recipe gets a thread for each core that others leave."""

import io

import pytest
from rich.console import Console

from deepseek_lab import processor
from deepseek_lab.pipeline.running import free_threads
from deepseek_lab.processor import Moment


@pytest.mark.parametrize(
    ("busy", "number", "said"),
    [
        (0.0, 2, ""),
        (1.9, 1, "other programs keep 1.9 of 2 cores busy: 1 computes (n_threads=2 takes all)\n"),
    ],
)
def test_threads_are_the_cores_that_others_leave(monkeypatch, busy, number, said):
    monkeypatch.setattr(processor, "_usable", lambda: {0, 1})
    moments = iter([Moment(0.0, 0.0, 0.0, 0.0), Moment(1.0, busy, 0.0, 0.0)])
    console = Console(file=io.StringIO(), width=200)
    assert free_threads(console, 0.0, lambda: next(moments)) == number
    assert console.file.getvalue() == said
