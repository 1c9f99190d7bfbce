"""The whole road of the mini R1 in a few steps a stage, killed in the middle of one and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 3600
"""Seconds after which a stage counts as stuck: far more than a busy machine needs."""


def start(folder):
    words = ["recipe=mini_r1_smoke", f"folder={folder}", f"paths.logs={folder}", "n_threads=1"]
    script = str(ROOT / "scripts" / "pipeline.py")
    return subprocess.Popen([sys.executable, script, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for(folder, pattern):
    """Until a file is there."""
    end = time.monotonic() + PATIENCE
    while not list(folder.glob(pattern)):
        assert time.monotonic() < end, f"no {pattern}"
        time.sleep(0.05)


@pytest.mark.slow
def test_every_stage_runs_and_a_killed_one_goes_on(tmp_path):
    first = start(tmp_path)
    wait_for(tmp_path, "zero-*/checkpoints/*.ckpt")
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    zero = next(tmp_path.glob("zero-*"))
    assert not (zero / "DONE").exists(), "it was killed too late to prove anything"
    second = start(tmp_path)
    said = second.communicate()[1]
    assert second.returncode == 0, said[-3000:]
    rows = {(row["name"], row["test"]): row for row in json.loads((tmp_path / "road.json").read_text())["steps"]}
    assert all(row["done"] for row in rows.values())
    assert rows["base", None]["attempts"] == 1, "what was finished is not run again"
    assert rows["zero", None]["attempts"] == 2
    steps = [json.loads(line)["step"] for line in (zero / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)), "no step twice"
    report = (tmp_path / "report.md").read_text()
    assert "Results: held_out" in report
    assert {name for name, test in rows if test is None} == set(stages())


def stages():
    """The steps of recipe=mini_r1: the smoke test leaves none out."""
    import yaml

    return yaml.safe_load((ROOT / "conf" / "recipe" / "mini_r1.yaml").read_text())["steps"]
