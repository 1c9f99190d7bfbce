"""JSON lines: one row a step, nothing twice, nothing torn."""

import json
import math
from pathlib import Path

from deepseek_lab.trainer_plugins.json_lines import JsonLines, JsonLinesLogger, read_rows


def test_values_of_one_step_share_a_row(tmp_path: Path) -> None:
    logger = JsonLinesLogger(tmp_path)
    logger.log_metrics({"train/loss": 2.5}, 5)
    logger.log_metrics({"val/loss": 2.0}, 5)
    assert read_rows(tmp_path / "metrics.jsonl") == []
    logger.log_metrics({"train/loss": 2.25}, 6)
    assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 5, "train/loss": 2.5, "val/loss": 2.0}]
    logger.save()
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [5, 6]


def test_going_on_drops_later_rows_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = "".join(json.dumps({"step": step, "train/loss": 1.0}) + "\n" for step in (1, 2, 3, 4))
    path.write_text(whole + '{"step": 5, "tra')
    logger = JsonLinesLogger(tmp_path, resume_step=2)
    assert path.read_text().startswith(whole), "nothing may be dropped before the run really goes on"
    logger.log_metrics({"train/loss": 0.5}, 3)
    logger.finalize("success")
    assert [(row["step"], row["train/loss"]) for row in read_rows(path)] == [(1, 1.0), (2, 1.0), (3, 0.5)]


def test_a_new_run_starts_its_file_anew(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 9}\n')
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.add(1, {"a": 1})
    lines.sync()
    assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 1, "a": 1}]


def test_every_line_is_strict_json(tmp_path: Path) -> None:
    logger = JsonLinesLogger(tmp_path)
    logger.log_metrics({"val/perplexity": math.inf, "val/loss": math.nan, "train/loss": 0.1 + 0.2}, 1)
    logger.save()
    line = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in line
    assert json.loads(line) == {"step": 1, "val/perplexity": None, "val/loss": None, "train/loss": 0.1 + 0.2}


def test_samples_have_a_file_of_their_own(tmp_path: Path) -> None:
    logger = JsonLinesLogger(tmp_path)
    logger.log_text("sample", "def f():\n    return 1", 5)
    logger.save()
    assert read_rows(tmp_path / "samples.jsonl") == [{"step": 5, "sample": "def f():\n    return 1"}]
    assert not (tmp_path / "metrics.jsonl").exists()


def test_the_loads_of_experts_get_a_row_a_validation(tmp_path: Path) -> None:
    logger = JsonLinesLogger(tmp_path)
    for step in (1, 2, 3):
        logger.log_histogram("moe/layer_1/load", [0.123456789, 0.876543211], step)
        logger.log_histogram("moe/layer_2/load", [0.5, 0.5], step)
        logger.log_histogram("fp8/amax", [1.0], step)
        logger.log_metrics({"train/loss": 1.0}, step)
    logger.log_metrics({"val/loss": 1.0}, 3)
    logger.finalize("success")
    assert read_rows(tmp_path / "expert_load.jsonl") == [
        {"step": 3, "moe/layer_1/load": [0.12346, 0.87654], "moe/layer_2/load": [0.5, 0.5]}
    ]
    again = JsonLinesLogger(tmp_path, resume_step=2)
    again.log_histogram("moe/layer_1/load", [1.0, 0.0], 4)
    again.log_metrics({"val/loss": 1.0}, 4)
    again.finalize("success")
    assert [row["step"] for row in read_rows(tmp_path / "expert_load.jsonl")] == [4]


def test_a_dense_run_leaves_no_file_of_loads(tmp_path: Path) -> None:
    logger = JsonLinesLogger(tmp_path)
    logger.log_metrics({"val/loss": 1.0}, 3)
    logger.finalize("success")
    assert not (tmp_path / "expert_load.jsonl").exists()
