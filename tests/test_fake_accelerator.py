"""A training step touches no host and no unknown operation on an accelerator, as far as one that is not there shows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("which", "n"), [("few", 2), pytest.param("all", 32, marks=pytest.mark.slow)])
def test_a_whole_step_of_every_kind_of_network(which, n):
    script = Path(__file__).with_name("fake_accelerator_process.py")
    path = os.pathsep.join([str(script.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    ended = subprocess.run([sys.executable, script, which], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr[-2000:]
    errors = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(errors) == n
    assert [kind for kind in errors if kind[1] is not None] == [], ended.stderr[-2000:]
