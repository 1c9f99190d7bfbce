"""Two training loops in one thread, ours under Lightning, theirs under transformers' Trainer, step by step by turns.

So a machine's drift falls on both. Each loop stands in a greenlet, which the other's callback resumes where it left
off. A thread for each would be wrong: OpenMP keeps a team of workers for every thread that computes, and as soon as
the teams together are more than the processors, none of them waits awake any more, so small operations cost several
times as much on two threads.

Beside the clock each step counts the processor seconds of the thread: on a busy machine, with one thread of torch,
those are what can be compared.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from greenlet import getcurrent, greenlet
from lightning.pytorch import Callback, Trainer
from torch import Tensor

OURS, THEIRS = "ours", "TRL"


class Turns:
    """The seconds of each loop's steps; the first step of both is a warm-up."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.seconds: dict[str, list[float]] = {OURS: [], THEIRS: []}
        self.cpu_seconds: dict[str, list[float]] = {OURS: [], THEIRS: []}
        self.first_gradients: dict[str, dict[str, Tensor]] = {}
        """What the optimiser of each was given in its first step."""
        self.report = report
        self.loops: dict[str, greenlet] = {}
        self._began = (0.0, 0.0)

    def begin(self) -> None:
        """Starts the clocks."""
        self._began = (time.perf_counter(), time.thread_time())

    def end(self, who: str) -> None:
        """Stops the clocks and gives the turn away; returns when it comes back."""
        wall, cpu = self._began
        self.seconds[who].append(time.perf_counter() - wall)
        self.cpu_seconds[who].append(time.thread_time() - cpu)
        if who == THEIRS:
            self.report(", ".join(f"{name} {values[-1]:.2f} s" for name, values in self.seconds.items()))
        self.loops[THEIRS if who == OURS else OURS].switch()

    def keep_gradients(self, who: str, model: torch.nn.Module) -> None:
        """Copies the gradients of the first step; outside of what is timed from the second on."""
        if who not in self.first_gradients:
            named = model.named_parameters()
            self.first_gradients[who] = {name: p.grad.clone() for name, p in named if p.grad is not None}

    @property
    def result(self) -> dict[str, Any]:
        """Seconds without the warm-up, and how many times as long theirs takes, by the clock and by the processor."""
        kinds = {"": self.seconds, "cpu_": self.cpu_seconds}
        result: dict[str, Any] = {"threads": torch.get_num_threads()}
        for kind, found in kinds.items():
            result[f"{kind}seconds"] = timed = {who: values[1:] for who, values in found.items()}
            result[f"{kind}ratios"] = [a / b for a, b in zip(timed[THEIRS], timed[OURS], strict=True)]
        return result


class OurTurn(Callback):
    """Lightning's side."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """A step begins."""
        self._turns.begin()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """The gradients are there, clipped."""
        self._turns.keep_gradients(OURS, pl_module.model)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """It is over."""
        self._turns.end(OURS)


def their_turn(turns: Turns) -> Any:
    """The same as a callback of transformers'."""
    from transformers import TrainerCallback

    class TheirTurn(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            turns.begin()

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            turns.keep_gradients(THEIRS, rest["model"])

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            turns.end(THEIRS)

    return TheirTurn()


def train_by_turns(stage: Any, theirs: Any, steps: int, turns: Turns) -> None:
    """Trains both for `steps`; `theirs` has the callback of `their_turn` already."""
    turns.loops = {OURS: getcurrent(), THEIRS: greenlet(theirs.train)}
    quiet_trainer(steps, [OurTurn(turns)]).fit(stage)
    turns.loops[THEIRS].switch()  # past its last step, to its end


def quiet_trainer(steps: int, callbacks: list[Callback]) -> Trainer:
    """Lightning's trainer without logger, bar and checkpoints."""
    return Trainer(
        accelerator="cpu",
        max_steps=steps,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
