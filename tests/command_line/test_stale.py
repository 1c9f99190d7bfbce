"""Finished runs of another source: found, moved aside or kept."""

import json

import pytest

from deepseek_lab.command_line.stale import is_stale, treat_stale
from deepseek_lab.source import source_hash


@pytest.fixture
def finished(tmp_path):
    """Makes a run of the sweep `s` with these hashes of its source, the first and those it went on with."""

    def made(name, *hashes, done=True):
        run = tmp_path / "s" / name
        run.mkdir(parents=True)
        first, *later = ({"source": {"commit": None} if h is None else {"hash": h}} for h in hashes)
        (run / "provenance.json").write_text(json.dumps({**first, "resumed": later}))
        if done:
            (run / "DONE").touch()
        return run

    return made


@pytest.mark.parametrize(
    ("hashes", "stale"),
    [
        (("now",), False),
        (("before",), True),
        (("now", "now"), False),
        (("before", "now"), True),  # half of it was made by another source
        ((None,), False),  # made before hashes were kept: nobody knows
    ],
)
def test_every_part_of_a_run_counts(finished, hashes, stale):
    assert is_stale(finished("a", *hashes), "now") == stale


def test_unfinished_and_broken_runs_are_not_stale(finished, tmp_path):
    assert not is_stale(finished("a", "before", done=False), "now")
    run = finished("b", "before")
    (run / "provenance.json").write_text("{")
    assert not is_stale(run, "now")
    assert not is_stale(tmp_path / "nowhere", "now")


def test_old_runs_are_moved_beside_the_sweep_and_never_over_each_other(finished, tmp_path):
    for _ in range(2):
        run, same = finished("a", "before"), tmp_path / "s" / "b"
        same = same if same.exists() else finished("b", source_hash())
        line = treat_stale([run, same], "rerun")
        assert "1 finished job was made with another source" in line
        assert str(tmp_path / "s.stale") in line
        assert not run.exists()
        assert same.exists()
    assert sorted(path.name for path in (tmp_path / "s.stale").iterdir()) == ["a", "a-2"]
    assert treat_stale([same], "rerun") is None


def test_kept_runs_are_named_a_few_of_many(finished):
    runs = [finished(f"r{i}", "before") for i in range(7)]
    line = treat_stale(runs, "keep")
    assert line.startswith("7 finished jobs were made with another source, kept")
    assert line.endswith("r0, r1, r2, r3, r4, …")
    assert all(run.exists() for run in runs)
