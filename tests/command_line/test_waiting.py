"""Threads wait asleep beside busy programs, in a loop on a quiet machine, and as a person says."""

import subprocess
import sys

import pytest

from deepseek_lab.command_line.waiting import wait_asleep_if_busy
from deepseek_lab.processor import Moment


@pytest.mark.parametrize(("busy", "set_"), [(0.0, {}), (0.3, {}), (1.0, {"OMP_WAIT_POLICY": "PASSIVE"})])
def test_the_load_found_decides(busy, set_):
    environment = {}
    wait_asleep_if_busy(Moment(0.0, 0.0, 0.0, 0.0), lambda: Moment(1.0, busy, 0.0, 0.0), environment)
    assert environment == set_


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_a_person_set_stands(name):
    environment = {name: "7"}
    wait_asleep_if_busy(Moment(0.0, 0.0, 0.0, 0.0), lambda: Moment(1.0, 2.0, 0.0, 0.0), environment)
    assert environment == {name: "7"}


def test_without_counts_of_others_nothing_is_chosen():
    environment = {}
    wait_asleep_if_busy(Moment(0.0, None, 0.0, 0.0), lambda: Moment(1.0, None, 0.0, 0.0), environment)
    assert environment == {}


def test_it_comes_before_torch():
    """The OpenMP library reads the environment when torch loads it."""
    program = (
        "import sys, deepseek_lab.command_line.entry as entry\n"
        "def look(*_):\n    print('torch' in sys.modules)\n    raise SystemExit\n"
        "entry.wait_asleep_if_busy = look\n"
        "sys.argv = ['train.py', 'trainer.max_steps=1']\n"
        "entry.run_command('train', 'deepseek_lab.experiment:train', check='deepseek_lab.experiment:check')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr
