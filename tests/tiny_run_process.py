"""A tiny run in a process of its own, which kills or stops itself at a chosen point.

`tiny_run_process.py FOLDER [step|validation|write|signal STEP [SIGNAL]]`
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback

from deepseek_lab.checkpoint.located import checkpoints_in
from deepseek_lab.checkpoint.native import read_checkpoint
from deepseek_lab.stages.errors import Interrupted
from tiny_run import tiny_stage, tiny_trainer


class Kill(Callback):
    """kill -9 inside a step, inside a validation, or half-way through a checkpoint's write; or a polite signal."""

    def __init__(self, where: str, step: int, number: int = signal.SIGKILL) -> None:
        self.where, self.step, self.number = where, step, number

    def _strike(self) -> None:
        os.kill(os.getpid(), self.number)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if self.where in ("step", "signal") and pl_module.steps_done + 1 == self.step:
            self._strike()

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        if self.where == "validation" and pl_module.steps_done == self.step:
            self._strike()

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self.where != "write" or pl_module.steps_done != self.step:
            return
        whole = torch.save

        def half(content: Any, file: Any) -> None:
            whole(content, file)
            file.flush()
            file.truncate(file.tell() // 2)
            self._strike()

        torch.save = half


def main() -> None:
    folder, extra = Path(sys.argv[1]), sys.argv[2:]
    torch.set_num_threads(1)
    kill = [Kill(extra[0], int(extra[1]), *(int(n) for n in extra[2:]))] if extra else []
    found = checkpoints_in(folder / "checkpoints")
    resume_step = read_checkpoint(found[-1])["run"]["steps_done"] if found else None
    trainer = tiny_trainer(folder, every=4, resume_step=resume_step, callbacks=kill)
    try:
        trainer.fit(tiny_stage(), ckpt_path=found[-1] if found else None)
    except Interrupted as stop:
        print(f"Interrupted: {stop}")
        sys.exit(1)


if __name__ == "__main__":
    main()
