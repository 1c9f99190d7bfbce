"""Where a run stands, on a terminal and without one."""

import io
from pathlib import Path

from rich.console import Console

from deepseek_lab.callbacks.progress import ProgressLine, status
from tiny_run import tiny_stage, tiny_trainer


def test_without_a_terminal_a_line_every_tenth(tmp_path: Path) -> None:
    out = io.StringIO()
    progress = ProgressLine(Console(file=out, width=120))
    tiny_trainer(tmp_path, max_steps=40, every=100, log_every=1, callbacks=[progress]).fit(tiny_stage(moe=False))
    lines = out.getvalue().splitlines()
    assert 10 <= len(lines) <= 12
    assert lines[-1].startswith("step 40/40  loss ")
    assert "bits/byte" in lines[-1]
    assert all(len(line) <= 120 for line in lines)


def test_on_a_terminal_one_bar(tmp_path: Path) -> None:
    out = io.StringIO()
    progress = ProgressLine(Console(file=out, width=120, force_terminal=True))
    tiny_trainer(tmp_path, max_steps=5, log_every=1, callbacks=[progress]).fit(tiny_stage(moe=False))
    assert "5/5" in out.getvalue()
    assert "loss" in out.getvalue()


def test_only_values_that_exist_are_shown() -> None:
    assert status({}) == ""
    assert status({"train/loss": 2.0, "perf/tokens_per_second": 12345.6}) == "loss 2.0000  12,346 tokens/s"
