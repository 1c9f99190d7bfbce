"""The table of curves."""

import pytest

from deepseek_lab.metrics import CURVES, describe


def test_every_row_finds_itself_and_says_what_it_is_divided_by() -> None:
    for curve in CURVES:
        assert (
            describe(
                curve.name.format(
                    depth=2, layer=13, source="code_2", operand="weight", task="sums", part="correct", k=8
                )
            )
            is curve
        )
        assert curve.unit
        assert curve.denominator
        assert curve.meaning
        assert curve.better in {"", "lower", "higher"}
    assert len({curve.name for curve in CURVES}) == len(CURVES)


def test_losses_are_better_lower_and_settings_neither() -> None:
    held_out = [curve for curve in CURVES if curve.name.startswith("val/")]
    assert {curve.better for curve in held_out if "rewards/" not in curve.name} == {"lower"}
    assert {curve.better for curve in held_out if "rewards/" in curve.name} == {"higher"}
    assert describe("mtp/acceptance_1").better == "higher"
    assert describe("train/lr").better == describe("perf/seconds").better == ""


@pytest.mark.parametrize(
    "name", ["train/loss_mtp_", "train/loss_mtp_x", "train/losses", "xtrain/loss", "train.loss", "val/2/bits_per_byte"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(KeyError):
        describe(name)


def test_a_near_miss_is_told() -> None:
    with pytest.raises(KeyError, match="did you mean 'val/bits_per_byte'"):
        describe("val/bit_per_byte")
