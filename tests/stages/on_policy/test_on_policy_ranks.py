"""On-policy stages on two ranks learn what one process learns."""

from pathlib import Path

import pytest

from tiny_ranks import ON_POLICY, UNEVEN, fit, on_policy, start
from tiny_run import rows

OF_ONE_RANK = {"completions/max_length", "value/explained_variance", "sampling/logp_difference/max"}
"""Means over ranks of what one rank sees, and rounding."""


@pytest.mark.slow
def test_two_ranks_learn_what_one_learns(tmp_path: Path) -> None:
    start(tmp_path / "ranks", *ON_POLICY)
    for kind in ON_POLICY:
        fit(tmp_path / kind, on_policy(kind), max_steps=3)
        ours, theirs = rows(tmp_path / "ranks" / kind), rows(tmp_path / kind)
        assert [row["step"] for row in ours] == [row["step"] for row in theirs]
        for our, their in zip(ours, theirs, strict=True):
            assert our.keys() == their.keys()
            close = {name: pytest.approx(value, rel=1e-3, abs=1e-5) for name, value in their.items()}
            assert {name: our[name] for name in close.keys() - OF_ONE_RANK} == {
                name: close[name] for name in close.keys() - OF_ONE_RANK
            }


@pytest.mark.slow
def test_ranks_that_dynamic_sampling_leaves_unequal_make_equally_many_updates(tmp_path: Path) -> None:
    start(tmp_path, UNEVEN)
    assert rows(tmp_path / UNEVEN)[-1]["step"] == 3
