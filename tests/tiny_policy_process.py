"""A tiny on-policy run that ends at a chosen point: by kill -9 in a process of its own, or by an exception.

`tiny_policy_process.py FOLDER grpo|ppo [generation|update|write|validation ITERATION COUNT]`

generation: at the COUNT-th token drawn in an iteration; update: before its COUNT-th update
"""

import functools
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback

from deepseek_lab.callbacks.transcripts import Transcripts
from deepseek_lab.checkpoint.located import checkpoints_in
from deepseek_lab.checkpoint.native import read_checkpoint
from deepseek_lab.generation import Engine
from tiny_policy import policy_stage
from tiny_run import V3_BALANCE, tiny_trainer

KNOBS: dict[str, dict[str, Any]] = {
    "grpo": {
        "loss": {"kl_weight": 0.05, "dynamic_sampling": True, "spread_tolerance": 0.3},
        "rollout": {"curriculum": "pass_rate", "rewards": {"total": 1.0, "format": 0.1}},
        "reference_every": 3,
        "router_bias": "per_iteration",
    },
    "ppo": {"rollout": {"curriculum": "pass_rate"}},
}


class Kill(Callback):
    """kill -9 inside generation, between two updates, in a validation, or half-way through a checkpoint's write."""

    def __init__(self, where: str, iteration: int, count: int, strike: Callable[[], None]) -> None:
        self.where, self.iteration, self.count, self.strike = where, iteration, count, strike
        self._patched: list[tuple[Any, str, Any]] = []

    def undo(self) -> None:
        """Puts back what was patched; a process that is killed has no need of it."""
        for owner, name, whole in self._patched:
            setattr(owner, name, whole)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.steps_done + 1 == self.iteration and self.where in ("generation", "update"):
            owner, name = (Engine, "step") if self.where == "generation" else (type(pl_module), "_update")
            self._strike_at(owner, name)

    def _strike_at(self, owner: Any, name: str) -> None:
        whole, calls = getattr(owner, name), [0]
        self._patched.append((owner, name, whole))

        def counted(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == self.count:
                self.strike()
            return whole(*args, **kwargs)

        setattr(owner, name, counted)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self.where == "validation" and pl_module.steps_done >= self.iteration:
            self._strike_at(Engine, "step")

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self.where != "write" or pl_module.steps_done < self.iteration:
            return
        whole = torch.save
        self._patched.append((torch, "save", whole))

        def half(content: Any, file: Any) -> None:
            whole(content, file)
            file.flush()
            file.truncate(file.tell() // 2)
            self.strike()

        torch.save = half


def go_on(folder: Path, kind: str, kill: Kill | None = None) -> None:
    """Trains from where the run in `folder` stands."""
    random.seed(1)
    np.random.seed(1)
    found = checkpoints_in(folder / "checkpoints")
    resume_step = read_checkpoint(found[-1])["run"]["steps_done"] if found else None
    callbacks = [Transcripts(folder, resume_step), *([kill] if kill else [])]
    settings: dict[str, Any] = {"max_steps": 9, "every": 2, "validate_every": 4, "log_every": 2}
    trainer = tiny_trainer(folder, resume_step=resume_step, callbacks=callbacks, **settings)
    stage = policy_stage(kind, epochs=2, minibatches=2, depth=1, balance=V3_BALANCE, **KNOBS[kind])
    trainer.fit(stage, ckpt_path=found[-1] if found else None)


def main() -> None:
    folder, kind, extra = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    torch.set_num_threads(1)
    strike = functools.partial(os.kill, os.getpid(), signal.SIGKILL)
    go_on(folder, kind, Kill(extra[0], int(extra[1]), int(extra[2]), strike) if extra else None)


if __name__ == "__main__":
    main()
