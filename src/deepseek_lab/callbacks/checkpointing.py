"""Saves the state of finished steps, keeps the newest few, and turns Ctrl-C into a clean stop.

A step is finished when its validation, if one is due, is too; a kill in the middle of a validation
therefore goes back to the checkpoint before it and does the step again. Ctrl-C, a closed terminal and what
schedulers send (`STOPS`) only set a mark: the step ends, its state is saved, and the run stops with the line that
goes on with it. A second Ctrl-C stops at once. Loggers reach the disk before the checkpoint does, so no row before
it is lost.

Who handled a signal before the run did gets it once the state is saved: submitit puts its job back into the queue
then, and bypasses SIGTERM, in which case training goes on until it is killed.

Lightning runs callbacks of its class `Checkpoint` after all others; that order is needed here.
"""

import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint

from deepseek_lab.advice import resume_command
from deepseek_lab.checkpoint.atomic import PARTIAL
from deepseek_lab.checkpoint.located import checkpoint_name, checkpoints_in
from deepseek_lab.stages.errors import Interrupted
from deepseek_lab.stages.loop.stage import Stage

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Ctrl-C, the system, a closed terminal, and the two by which schedulers announce the end of a job's time."""

_TAKEN_ALWAYS = (signal.SIGINT, signal.SIGTERM)
"""The others stay ignored where the starter ignores them (nohup)."""


class Checkpointing(Checkpoint):
    """`every` optimiser steps, at the end, and when asked to stop; `keep` newest stay."""

    def __init__(self, run_folder: Path, every: int, keep: int) -> None:
        self.run_folder = run_folder
        self.folder = run_folder / "checkpoints"
        self.every = every
        self.keep = keep
        self._asked: signal.Signals | None = None
        self._speaks = True
        self._handlers: dict[signal.Signals, Any] = {}
        self._before_the_run = {number: signal.getsignal(number) for number in STOPS}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Takes the signals over, after Lightning did, and sweeps up halves of files that a kill left."""
        if threading.current_thread() is threading.main_thread():
            taken = [n for n in STOPS if n in _TAKEN_ALWAYS or self._before_the_run[n] != signal.SIG_IGN]
            self._handlers = {number: signal.signal(number, self._on_signal) for number in taken}
        self._speaks = trainer.is_global_zero
        if trainer.is_global_zero:
            for half in self.folder.glob("*" + PARTIAL):
                half.unlink(missing_ok=True)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = signal.Signals(number)
        if self._speaks:
            name = "" if number == signal.SIGINT else f"{signal.Signals(number).name}: "
            print(f"\n{name}stopping after this step (Ctrl-C again stops at once)", file=sys.stderr, flush=True)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The step is finished here unless a validation follows."""
        if not pl_module.validation_due:
            self._after_finished_step(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """The step is finished with its validation."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._after_finished_step(trainer, pl_module)

    def _after_finished_step(self, trainer: Trainer, stage: Stage) -> None:
        stop = self._must_stop(trainer, stage)
        if stop or stage.is_last_step or stage.steps_done % self.every == 0:
            self._save(trainer, stage)
        if stop and not stage.is_last_step and not self._bypassed(trainer.world_size):
            raise Interrupted(
                f"stopped after step {stage.steps_done} of {trainer.max_steps}, nothing is lost; to go on: "
                f"{resume_command(self.run_folder)}"
            )

    def _bypassed(self, world_size: int) -> bool:
        """Hands the signal on, now that the state is saved; whether the starter bypasses it, so that the run goes on.

        A starter may end the process here, as submitit does once it has put its job back into the queue.
        """
        asked, self._asked = self._asked, None
        handler = self._before_the_run.get(asked) if asked is not None else None
        if asked is None or not callable(handler) or handler is signal.default_int_handler:
            return False
        handler(asked, None)
        return asked == signal.SIGTERM and world_size == 1  # ranks that were asked nothing stop

    def _must_stop(self, trainer: Trainer, stage: Stage) -> bool:
        """Whether any rank was asked to stop; ranks agree at logged steps, since asking costs a message."""
        if trainer.world_size == 1:
            return self._asked is not None
        asked = torch.tensor(self._asked is not None, device=stage.device).int()
        return stage.log_due and bool(stage.over_ranks(asked))

    def _save(self, trainer: Trainer, stage: Stage) -> None:
        started = time.monotonic()
        stage.require_finite()
        stage.records.flush(to_disk=True)
        trainer.save_checkpoint(self.folder / checkpoint_name(stage.steps_done), weights_only=False)
        if trainer.is_global_zero:
            for old in checkpoints_in(self.folder)[: -self.keep]:
                trainer.strategy.remove_checkpoint(old)
        stage.paused_seconds += time.monotonic() - started

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Gives the signals back."""
        self._give_signals_back()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Gives the signals back."""
        self._give_signals_back()

    def _give_signals_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
