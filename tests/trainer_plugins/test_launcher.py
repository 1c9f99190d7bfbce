"""A rank that dies is noticed, named, and takes the others with it."""

import subprocess
import sys
import time
from pathlib import Path

from deepseek_lab.trainer_plugins import launcher

WAITS_FOR_EVER = """
import subprocess, sys, time
from deepseek_lab.trainer_plugins import launcher
launcher.PATIENCE = 1.0
codes = ("import time; time.sleep(600)", "raise SystemExit(3)")
ranks = [subprocess.Popen([sys.executable, "-c", code]) for code in codes]
print(ranks[0].pid, flush=True)
launcher._watch(lambda: launcher.lost_child(ranks), lambda: launcher.end(ranks))
time.sleep(600)
"""


def test_children_that_end_well_are_no_loss():
    with subprocess.Popen(["true"]) as well, subprocess.Popen(["sleep", "60"]) as running:
        well.wait()
        assert launcher.lost_child([well, running]) is None
        launcher.end([running])
        running.wait()
        assert launcher.lost_child([well, running]) == "rank 2 (exit code -9)"


def test_a_process_that_waits_for_a_dead_rank_says_so_and_ends(tmp_path: Path):
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", WAITS_FOR_EVER], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert lines == ["error: rank 2 (exit code 3) of this run is gone; its last checkpoint is kept"]
    assert time.monotonic() - began < 60
    assert not Path(f"/proc/{done.stdout.strip()}").exists(), "the rank that still ran is gone, too"
