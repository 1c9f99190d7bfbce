"""The benchmark of sweeps: what it times, and what it makes of the times."""

import io

import pytest
from rich.console import Console

from deepseek_lab.benchmarking import sweep


def test_two_ways_take_turns_and_the_ratio_is_taken_within_a_round(monkeypatch, tmp_path):
    asked = []

    def seconds(model, steps, at_once, folder):
        asked.append((steps, at_once))
        return {1: 12.0, 2: 8.0}[at_once] * len(asked)

    monkeypatch.setattr(sweep, "_seconds", seconds)
    said = []
    result = sweep.measure("nano", 2, said.append, steps=5)
    assert asked == [(1, 2), (5, 2), (5, 1), (5, 1), (5, 2)]
    assert result["times_faster_range"] == pytest.approx([12 * 4 / (8 * 5), 12 * 3 / (8 * 2)])
    assert len(said) == 2
    sweep.save([result], tmp_path)
    assert (tmp_path / "sweep.json").exists()
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(sweep.table([result]))
    assert "1.73 (1.20–2.25)" in console.export_text()


def test_a_failing_sweep_is_no_time(tmp_path):
    with pytest.raises(RuntimeError, match="model has no option 'nanoo'"):
        sweep._seconds("nanoo", 1, 2, tmp_path)


@pytest.mark.slow
def test_two_jobs_at_once_finish_sooner_than_one_after_the_other():
    """Starts of processes alone take longer than these few steps, so one core of two is idle half of the time."""
    result = sweep.measure("nano", 3, print, steps=100)
    assert result["times_faster_median"] > 1
