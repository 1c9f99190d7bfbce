"""Says once when other programs take the processor from a run, what that costs, and which setting helps.

The main thread of a run on a CPU computes all the time, or waits for other threads that do; where it gets fewer
seconds of the processor than pass on the clock, somebody else has them. Threads make it worse: at the end of each
operation all wait for the one that others keep from its core.

Left out: a GPU's runs, which the processor only feeds; several ranks, which take it from each other.
"""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from deepseek_lab.advice import resume_command
from deepseek_lab.processor import BUSY, Moment, free_cores, now, others, usable_cores

WINDOW = 10.0
"""Seconds of whole steps that are looked at together."""

STARVED = 0.8
"""Of the seconds of a window, what the main thread gets on a machine that it has for itself, and a margin."""
_STARVED_UNSEEN = 0.6  # where nothing is known of others


class BusyMachine(Callback):
    """Looks at windows of steps until one is starved.

    say: takes the line
    """

    def __init__(self, run_folder: object, say: Callable[[str], None], look: Callable[[], Moment] = now) -> None:
        self.run_folder = run_folder
        self._say = say
        self._look = look
        self._done = False
        self._since: tuple[Moment, int] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begins the first window."""
        self._done = trainer.world_size > 1 or pl_module.device.type != "cpu"
        self._since = self._look(), pl_module.steps_done

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Ends a window that is long enough."""
        if self._done or self._since is None:
            return
        (since, first), until = self._since, self._look()
        if until.clock - since.clock < WINDOW:
            return
        self._since = until, pl_module.steps_done
        share = (until.main_thread - since.main_thread) / (until.clock - since.clock)
        theirs = others(since, until)
        if share < (_STARVED_UNSEEN if theirs is None else STARVED) and (theirs is None or theirs >= BUSY):
            self._done = True
            self._say(self._line(_steps(first + 1, pl_module.steps_done), share, theirs))

    def _line(self, steps: str, share: float, theirs: float | None) -> str:
        have, best = torch.get_num_threads(), free_cores(theirs) or 1
        busy = "" if theirs is None else f" keep {theirs:.1f} of {usable_cores()} cores busy and"
        lost = f"other programs{busy} took {1 - share:.0%} of the seconds of {steps}"
        if best >= have:
            return f"{lost}; no setting helps, the run has as few threads as it should"
        return (
            f"{lost}, and {have} threads wait for each other's; fewer lose less, with sums rounded in another order: "
            f"Ctrl-C, then {resume_command(self.run_folder)} trainer.n_threads={best}"
        )


def _steps(first: int, last: int) -> str:
    return f"step {first}" if first == last else f"steps {first} to {last}"
