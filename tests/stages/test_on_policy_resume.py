"""An on-policy run killed anywhere and gone on with equals the run never stopped, to the bit."""

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from deepseek_lab.checkpoint.fingerprint import fingerprint
from deepseek_lab.checkpoint.native import latest_checkpoint, read_checkpoint
from deepseek_lab.config import DataError
from deepseek_lab.model.value_head import ValueModel
from deepseek_lab.rollout.reward_model import RewardModel
from tiny_policy import policy, policy_stage
from tiny_policy_process import Kill, go_on
from tiny_run import rows, tiny_trainer

DRIVER = Path(__file__).parents[1] / "tiny_policy_process.py"
KILLS = (("generation", 4, 3), ("update", 6, 3), ("write", 6, 0), ("validation", 8, 4), ("update", 9, 1))
"""Inside generation, inside epoch 2, in a checkpoint's write, in a validation, before the first update."""


def drive(folder: Path, *words: object) -> int:
    command = [sys.executable, str(DRIVER), str(folder), *map(str, words)]
    return subprocess.run(command, capture_output=True, timeout=120).returncode


@pytest.fixture(scope="module")
def busy() -> Any:
    """A second process that computes all the while."""
    process = subprocess.Popen([sys.executable, "-c", "while True: sum(range(10000))"])
    yield
    process.kill()
    process.wait()


def final(folder: Path) -> dict[str, Any]:
    """What the last checkpoint holds, timings apart."""
    content = read_checkpoint(latest_checkpoint(folder))
    run = content["run"]
    run["latest"] = {name: value for name, value in run["latest"].items() if not name.startswith("perf/")}
    return {"weights": content["state_dict"], "optimizer": content["optimizer_states"], "run": run}


def same(first: Any, second: Any) -> bool:
    """Nested containers equal to the bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool((first == second).all()) if hasattr(first, "all") else first == second


class Killed(BaseException):
    """Ends a run without a process of its own."""


def strike() -> None:
    raise Killed


def assert_alike(broken: Path, whole: Path) -> None:
    """Curves less timings, weights, moments, generators and transcripts."""
    ours, theirs = rows(broken), rows(whole)
    assert [row["step"] for row in ours] == [1, 2, 4, 6, 8, 9]
    assert ours == theirs
    assert same(final(broken), final(whole))
    assert (broken / "completions.jsonl").read_text() == (whole / "completions.jsonl").read_text()
    assert no_step_twice(broken)


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_a_run_that_breaks_five_times_ends_as_one_that_does_not(kind: str, tmp_path: Path) -> None:
    go_on(tmp_path / "whole", kind)
    for where, iteration, count in KILLS:
        kill = Kill(where, iteration, count, strike)
        with pytest.raises(Killed):
            go_on(tmp_path / "broken", kind, kill)
        kill.undo()
    go_on(tmp_path / "broken", kind)
    assert_alike(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_five_kills_leave_no_trace(kind: str, tmp_path: Path, busy: Any) -> None:
    assert drive(tmp_path / "whole", kind) == 0
    for where, iteration, count in KILLS:
        assert drive(tmp_path / "broken", kind, where, iteration, count) == -signal.SIGKILL, where
    assert drive(tmp_path / "broken", kind) == 0
    assert_alike(tmp_path / "broken", tmp_path / "whole")


def no_step_twice(folder: Path) -> bool:
    """In what TensorBoard shows of the curves."""
    shown = EventAccumulator(str(folder / "tb"), size_guidance={"scalars": 0})
    shown.Reload()
    steps = [Counter(event.step for event in shown.Scalars(tag)) for tag in shown.Tags()["scalars"]]
    return bool(steps) and max(max(counts.values()) for counts in steps) == 1


def test_another_reward_model_is_another_run(tmp_path: Path) -> None:
    stage = policy_stage()
    tiny_trainer(tmp_path, max_steps=1, every=1).fit(stage)
    saved = read_checkpoint(latest_checkpoint(tmp_path))
    other = policy_stage()
    judge = ValueModel.around(policy())
    other.rollout.reward_model = RewardModel(judge, other.rollout.data.tokenizer)
    with pytest.raises(DataError, match=f"its reward_model is None, here it is {fingerprint(judge)}"):
        other.require_same_run(saved)
    other.require_same_run(saved, companions_read=False)  # of a rank whose reward model is still to come


def test_a_timeout_marks_the_run_for_good(tmp_path: Path) -> None:
    stage = policy_stage()

    def late(examples: Any, completions: Any) -> Any:
        time.sleep(1.0)

    stage.rollout.rewarding.judges.append(type("Late", (), {"rewards": staticmethod(late)})())
    stage.rollout.rewarding.seconds = 0.002
    tiny_trainer(tmp_path, max_steps=2, every=1, log_every=1, validate_every=100).fit(stage)
    saved = read_checkpoint(latest_checkpoint(tmp_path))["run"]
    assert saved["rollout"]["timeouts"] > 0
    assert 0 < rows(tmp_path)[-1]["sampling/timeouts"] <= saved["rollout"]["timeouts"]
