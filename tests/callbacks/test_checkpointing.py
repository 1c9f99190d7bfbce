"""What asks a run to stop: it saves the step that it is in; who handled the signal before gets it then."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from deepseek_lab.callbacks.checkpointing import STOPS
from deepseek_lab.checkpoint.located import checkpoint_name, latest_checkpoint
from deepseek_lab.checkpoint.native import read_checkpoint
from deepseek_lab.stages.errors import Interrupted
from tiny_run import rows, tiny_stage, tiny_trainer


class Signalled(Callback):
    """Sends this process a signal in the middle of some steps."""

    def __init__(self, number: int, *steps: int) -> None:
        self.number, self.steps = number, steps

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if pl_module.steps_done + 1 in self.steps:
            os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    tiny_trainer(folder, max_steps=8, every=100).fit(tiny_stage())
    return folder


@pytest.fixture(autouse=True)
def _handlers() -> Any:
    before = {number: signal.getsignal(number) for number in STOPS}
    for number in STOPS:  # a shell ignores SIGINT for what it starts in the background
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(folder: Path, *callbacks: Callback) -> None:
    tiny_trainer(folder, max_steps=8, every=100, callbacks=callbacks).fit(tiny_stage())


def assert_goes_on_to_the_same_bits(folder: Path, whole: Path) -> None:
    last = latest_checkpoint(folder)
    resume_step = read_checkpoint(last)["run"]["steps_done"]
    tiny_trainer(folder, max_steps=8, every=100, resume_step=resume_step).fit(tiny_stage(), ckpt_path=last)
    assert rows(folder) == rows(whole)
    ours, theirs = (read_checkpoint(latest_checkpoint(each))["state_dict"] for each in (folder, whole))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_a_checkpoint_says_with_how_many_threads_its_sums_were_added(whole):
    assert read_checkpoint(latest_checkpoint(whole))["run"]["n_threads"] == torch.get_num_threads()


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_every_signal_that_asks_to_stop_saves_the_step_and_the_run_goes_on(tmp_path, whole, number):
    step = random.Random().randrange(1, 8)
    with pytest.raises(Interrupted, match=f"stopped after step {step} of 8, nothing is lost; to go on: python "):
        run(tmp_path, Signalled(number, step))
    assert latest_checkpoint(tmp_path).name == checkpoint_name(step)
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler), "the signals are given back"
    assert_goes_on_to_the_same_bits(tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1], ids=lambda number: number.name)
def test_what_the_starter_ignores_stays_ignored(tmp_path, whole, number):
    signal.signal(number, signal.SIG_IGN)
    run(tmp_path, Signalled(number, 3))
    assert rows(tmp_path) == rows(whole)


def test_who_handled_the_signal_before_gets_it_when_the_state_is_saved_and_may_end_the_process(tmp_path, whole):
    """As submitit does, whose handler puts the job back into the queue and exits."""
    seen = []

    def requeue(number: int, frame: Any) -> None:
        seen.append((number, latest_checkpoint(tmp_path).name))
        raise SystemExit(255)

    signal.signal(signal.SIGUSR2, requeue)
    with pytest.raises(SystemExit):
        run(tmp_path, Signalled(signal.SIGUSR2, 3))
    assert seen == [(signal.SIGUSR2, checkpoint_name(3))]
    assert_goes_on_to_the_same_bits(tmp_path, whole)


def test_where_the_starter_bypasses_sigterm_the_state_is_saved_and_training_goes_on(tmp_path, whole):
    """As under submitit: a job that ended by itself before it is preempted would not be requeued."""
    seen = []
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(latest_checkpoint(tmp_path).name))
    run(tmp_path, Signalled(signal.SIGTERM, 3, 5))
    assert seen == [checkpoint_name(3), checkpoint_name(5)]
    assert rows(tmp_path) == rows(whole)
