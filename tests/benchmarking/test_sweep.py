"""The benchmark of sweeps: what it times, and what it makes of the times."""

import io

import pytest
from rich.console import Console

from deepseek_lab.benchmarking import sweep
from deepseek_lab.benchmarking.sweep import Way


def test_the_ways_take_turns_and_two_at_once_is_held_against_the_quicker_of_the_others(monkeypatch, tmp_path):
    asked = []
    times = {Way(1): 12.0, Way(1, 1): 10.0, Way(2): 8.0}

    def seconds(model, steps, way, folder):
        asked.append((steps, way))
        return times[way] * (2 if len(asked) > 4 and way == Way(1, 1) else 1)

    monkeypatch.setattr(sweep, "_seconds", seconds)
    said = []
    result = sweep.measure("nano", 2, said.append, steps=5)
    assert asked[0] == (1, Way(2)), "what comes first is not timed"
    assert [way for _, way in asked[1:]] == [Way(1), Way(1, 1), Way(2), Way(1, 1), Way(2), Way(1)]
    assert result["times_faster_range"] == pytest.approx([10 / 8, 12 / 8])
    assert len(said) == 2
    sweep.save([result], tmp_path)
    assert (tmp_path / "sweep.json").exists()
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(sweep.table([result]))
    assert "1.38 (1.25–1.50)" in console.export_text()


def test_a_failing_sweep_is_no_time(tmp_path):
    with pytest.raises(RuntimeError, match="model has no option 'nanoo'"):
        sweep._seconds("nanoo", 1, Way(2), tmp_path)


@pytest.mark.slow
def test_two_jobs_at_once_finish_sooner_than_one_after_the_other():
    """Starts of processes alone take longer than these few steps, so one core of two is idle half of the time."""
    result = sweep.measure("nano", 3, print, steps=50)
    assert result["times_faster_median"] > 1
