"""Two ranks train as one process does, under DDP and FSDP2, and each goes on with the others' checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch

from deepseek_lab.checkpoint.located import checkpoint_name
from deepseek_lab.checkpoint.native import read_checkpoint
from precision_recipes import fp8
from tiny_ranks import MAX_NORM, fit, ranks_stage, start
from tiny_ranks import MUON as MUON_CONFIG
from tiny_run import rows

FAST = (
    "ddp",
    "fsdp",
    "fsdp<one:7",
    "ddp<fsdp:14",
    "fsdp-v3",
    "ddp-block",
    "fsdp-poisoned",
    "ddp-fp8",
    "fsdp-fp8",
    "fsdp-unread",
)
MUON = ("fsdp-muon", "ddp-muon<fsdp-muon:7")
SLOW = (
    *("fsdp-tied", "fsdp-late", "ddp-late", "ddp-tied", "ddp<one:7", "fsdp<ddp:14", "ddp<fsdp:7", "ddp-poisoned"),
    *("fsdp-block", "ddp-v3"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process' run, and beside it the same on two ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "one").mkdir()
    fit(folder / "one", ranks_stage())
    start(folder, *FAST, *MUON)
    return folder


def assert_same_curves(ours: Path, theirs: Path, within: float = 1e-5) -> None:
    """Every row and every value within a share; the texts of samples have none."""
    assert len(rows(ours)) == len(rows(theirs)) > 8
    for mine, yours in zip(rows(ours), rows(theirs), strict=True):
        assert mine == pytest.approx(yours, rel=within), (mine["step"], ours)


def test_the_runs_are_worth_comparing(root: Path) -> None:
    """Clipping works in every step, routers move, MTP learns, validation batches do not divide by the ranks."""
    one = rows(root / "one")
    assert min(row["train/grad_norm"] for row in one if "train/grad_norm" in row) > 2 * MAX_NORM
    assert one[-1]["moe/bias_norm"] > 0
    assert one[-1]["train/loss_mtp_1"] < one[0]["train/loss_mtp_1"]
    assert one[-1]["val/loss"] > 0


@pytest.mark.parametrize("scenario", [name for name in FAST if "poisoned" not in name and "fp8" not in name])
def test_two_ranks_give_the_curves_of_one_process(root: Path, scenario: str) -> None:
    assert_same_curves(root / scenario, root / "one")


@pytest.mark.parametrize("scenario", ["ddp-fp8", "fsdp-fp8"])
def test_fp8_is_laid_over_the_model_before_it_is_wrapped(root: Path, scenario: str) -> None:
    """The same names as without FP8, and the curves of one process, but where a sum's last bit moves a rounding."""
    one = root / "one-fp8"
    if not one.exists():
        one.mkdir()
        fit(one, ranks_stage(precision=fp8()))
    losses = [[row["train/loss"] for row in rows(folder) if "train/loss" in row] for folder in (one, root / scenario)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    plain = [row["train/loss"] for row in rows(root / "one") if "train/loss" in row]
    assert losses[1] != pytest.approx(plain, rel=1e-5)
    ours, theirs = (read_checkpoint(root / run / "checkpoints" / checkpoint_name(20)) for run in (scenario, "one"))
    assert layout(ours["state_dict"]) == layout(theirs["state_dict"])


def test_muon_gathers_what_is_sharded_and_its_momentum_goes_from_one_strategy_to_the_other(root: Path) -> None:
    """Rounding that differs in the sums of the ranks grows in Newton-Schulz."""
    (root / "one-muon").mkdir()
    fit(root / "one-muon", ranks_stage(optimizer=MUON_CONFIG))
    for scenario in MUON:
        assert_same_curves(root / scenario, root / "one-muon", within=1e-3)


@pytest.mark.parametrize("scenario", ["ddp", "fsdp", "ddp<fsdp:14"])
def test_a_checkpoint_is_the_file_that_one_process_writes(root: Path, scenario: str) -> None:
    ours, theirs = (read_checkpoint(root / run / "checkpoints" / checkpoint_name(20)) for run in (scenario, "one"))
    assert layout(ours) == layout(theirs)
    for name, weight in theirs["state_dict"].items():
        torch.testing.assert_close(ours["state_dict"][name], weight, rtol=1e-4, atol=1e-6)
    states = [content["optimizer_states"][0]["state"] for content in (ours, theirs)]
    for number, state in states[1].items():
        for name, value in state.items():
            torch.testing.assert_close(states[0][number][name], value, rtol=1e-3, atol=1e-7)


def layout(value: Any) -> Any:
    """Names, shapes and plain numbers of a checkpoint; what is measured or depends on the process is left out."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype, value.device.type
    if isinstance(value, dict):
        return {key: layout(item) for key, item in value.items() if key not in ("run", "callbacks", "loops")}
    return [layout(item) for item in value] if isinstance(value, list) else value


def test_one_process_goes_on_with_a_sharded_run(root: Path) -> None:
    folder = root / "one<fsdp"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text((root / "fsdp" / "metrics.jsonl").read_text())
    fit(folder, ranks_stage(), resume=root / "fsdp" / "checkpoints" / checkpoint_name(7))
    assert_same_curves(folder, root / "one")


def test_a_bad_number_on_one_rank_stops_all_with_the_same_words(root: Path) -> None:
    lines = {(root / f"fsdp-poisoned.{rank}").read_text() for rank in range(2)}
    assert lines == {"step 4: the loss or its gradient is not finite, first in the output of blocks.1.attention_norm"}


@pytest.mark.slow
def test_the_full_matrix(root: Path) -> None:
    """Tied embeddings, an MTP module that rests from step 7 on, every pair of checkpoints."""
    start(root, *SLOW)
    for variant, knobs in {
        "tied": {"tie_embeddings": True},
        "late": {"mtp_late_weight": 0.0, "mtp_late_from": 0.3},
    }.items():
        (root / f"one-{variant}").mkdir()
        fit(root / f"one-{variant}", ranks_stage(**knobs))
    for scenario in SLOW:
        if "poisoned" not in scenario:
            variant = "-tied" if "tied" in scenario else "-late" if "late" in scenario else ""
            assert_same_curves(root / scenario, root / f"one{variant}")
    assert (root / "ddp-poisoned.0").read_text() == (root / "fsdp-poisoned.0").read_text()
