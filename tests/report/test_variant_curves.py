"""The mean over seeds as TensorBoard reads it."""

import pytest
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from deepseek_lab.report.comparison import compare
from deepseek_lab.report.runs import read_runs
from deepseek_lab.report.variant_curves import write_variant_curves


def shown(folder):
    return EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()


def write(folder):
    write_variant_curves(compare(read_runs(folder)[0]), folder)


def test_each_variant_is_one_line_named_in_words(three_seeds):
    write(three_seeds)
    board = shown(three_seeds)
    assert set(board.Runs()) == {f"variants/attention-{kind}" for kind in ("mha", "gqa", "mla")}
    events = board.Scalars("variants/attention-mla", "val/bits_per_byte")
    assert [event.step for event in events] == list(range(0, 601, 50))
    assert events[-1].value == pytest.approx((2.10 + 2.133 + 2.078) / 3 + 4.5 * 2.718281828 ** (-600 / 90))
    assert events[-1].wall_time - events[0].wall_time == pytest.approx(50)


def test_it_is_replaced_and_one_seed_needs_no_mean(three_seeds, runs):
    write(three_seeds)
    for folder in three_seeds.glob("attention-mla_seed-[23]*"):
        (folder / "DONE").unlink()
    write(three_seeds)
    assert set(shown(three_seeds).Runs()) == {"variants/attention-mha", "variants/attention-gqa"}
    assert len(list((three_seeds / "variants" / "attention-mha").iterdir())) == 1
    assert not list(three_seeds.glob(".variants*"))
    for folder in three_seeds.glob("attention-*_seed-[23]*"):
        (folder / "DONE").unlink(missing_ok=True)
    write(three_seeds)
    assert not (three_seeds / "variants").exists()
