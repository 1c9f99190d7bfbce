"""TensorBoard reads one line from a run that was killed and resumed, and HParams without a junk point."""

import re
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.custom_scalar.metadata import CONFIG_SUMMARY_TAG
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG, SESSION_START_INFO_TAG

from deepseek_lab.checkpoint.located import checkpoint_name
from deepseek_lab.metrics import CURVES
from deepseek_lab.trainer_plugins.tensorboard import TensorBoardCurves
from tiny_run import rows, tiny_stage, tiny_trainer


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder / "tb"), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0})
    accumulator.Reload()
    return accumulator


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(folder).Scalars(name)]


def test_a_resumed_run_is_one_line(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, max_steps=20, every=4, log_every=1).fit(tiny_stage())
    whole = points(tmp_path, "train/loss")
    last = tmp_path / "checkpoints" / checkpoint_name(8)
    # As after a kill at step 20: the points behind step 8 are in the old event file still.
    trainer = tiny_trainer(tmp_path, max_steps=12, every=4, log_every=1, resume_step=8)
    trainer.fit(tiny_stage(), ckpt_path=last)
    assert [step for step, _ in points(tmp_path, "train/loss")] == list(range(1, 13))
    assert points(tmp_path, "train/loss")[:8] == whole[:8]
    assert [step for step, _ in points(tmp_path, "val/loss")] == [5, 10, 12]
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, 13))


def test_the_load_of_each_expert_is_a_bar(tmp_path: Path) -> None:
    logger = TensorBoardCurves(tmp_path)
    logger.log_histogram("moe/layer_1/load", [0.5, 0.25, 0.25, 0.0], 3)
    logger.save()
    (event,) = events(tmp_path).Histograms("moe/layer_1/load")
    assert event.step == 3
    assert list(event.histogram_value.bucket) == [0.5, 0.25, 0.25, 0.0]
    assert list(event.histogram_value.bucket_limit) == [0.5, 1.5, 2.5, 3.5]


def session(folder: Path, tag: str) -> Any:
    content = events(folder).PluginTagToContent("hparams")[tag]
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def test_hparams_have_a_row_and_an_end_and_no_point_of_their_own(tmp_path: Path) -> None:
    logger = TensorBoardCurves(tmp_path)
    logger.describe_run({"attention": "mla", "dim": 64, "lr": 1e-3}, ["val/loss"], "seed: 1")
    logger.log_metrics({"val/loss": 2.0}, 10)
    logger.finalize("success")
    start = session(tmp_path, SESSION_START_INFO_TAG).session_start_info
    assert start.hparams["attention"].string_value == "mla"
    assert start.hparams["dim"].number_value == 64
    assert session(tmp_path, SESSION_END_INFO_TAG).session_end_info.status == 1
    assert points(tmp_path, "val/loss") == [(10, 2.0)]
    assert "config/text_summary" in events(tmp_path).Tags()["tensors"]
    assert not list((tmp_path / "tb").glob("*.yaml"))


def test_runs_of_a_sweep_are_overlaid_by_curves_that_exist(tmp_path: Path) -> None:
    logger = TensorBoardCurves(tmp_path)
    logger.describe_run({"dim": 64}, ["val/loss"], "seed: 1")
    logger.finalize("success")
    (event,) = events(tmp_path).Tensors(CONFIG_SUMMARY_TAG)
    layout = Layout.FromString(event.tensor_proto.string_val[0])
    patterns = [tag for category in layout.category for chart in category.chart for tag in chart.multiline.tag]
    names = [re.sub(r"\{\w+\}", "2", curve.name) for curve in CURVES]
    assert len(patterns) > 5
    for pattern in patterns:
        assert [name for name in names if re.search(pattern, name)], f"{pattern} finds no curve of metrics.py"


def test_a_resumed_run_describes_itself_once(tmp_path: Path) -> None:
    for resume_step in (None, 4):
        logger = TensorBoardCurves(tmp_path, resume_step)
        logger.describe_run({"dim": 64}, ["val/loss"], "seed: 1")
        logger.finalize("failed")
    assert len(events(tmp_path).Tensors("config/text_summary")) == 1
