"""A tiny run on mixed data in a process of its own, which kills itself at a chosen point.

`mixed_run_process.py TEXTS CACHE FOLDER [WHERE NUMBER]`: in a `step`, in the `write` of a checkpoint, in a
`validation`, or while a `shard` of the stream is made.
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback

from deepseek_lab.checkpoint.located import checkpoints_in
from deepseek_lab.checkpoint.native import read_checkpoint
from deepseek_lab.data.token_shards import TokenShards
from deepseek_lab.stages.pretrain import PretrainStage
from mixed_data import VOCABULARY, mixed_data
from tiny_run import V3_BALANCE, TinyAdamW, Warmup, tiny_config, tiny_trainer
from tiny_run_process import Kill


def kill_at_shard(number: int) -> None:
    """kill -9 when shard `number` is encoded and half written."""
    made = TokenShards._drop_before

    def strike(self: TokenShards, index: int) -> None:
        if index == number:
            (self._shard_folder(index) / "train.tokens").unlink()
            self._shard_folder(index).rename(self.folder / f".shard-{index:06d}-half")
            os.kill(os.getpid(), signal.SIGKILL)
        made(self, index)

    TokenShards._drop_before = strike  # type: ignore[method-assign]


def run(texts: Path, cache: Path, folder: Path, callbacks: list[Callback] | None = None) -> PretrainStage:
    """Trains 20 steps in `folder`, going on with what is there."""
    found = checkpoints_in(folder / "checkpoints")
    resume_step = read_checkpoint(found[-1])["run"]["steps_done"] if found else None
    torch.manual_seed(1)
    stage = PretrainStage.Config().build(
        dataclasses.replace(tiny_config(), vocab_size=VOCABULARY).build(),
        mixed_data(texts, cache),
        V3_BALANCE,
        isolate_documents=True,
        optimizer=TinyAdamW(),
        schedule=Warmup(),
        seed=1,
        validation_batches=None,
    )
    trainer = tiny_trainer(folder, every=4, resume_step=resume_step, callbacks=callbacks or [])
    trainer.fit(stage, ckpt_path=found[-1] if found else None)
    return stage


def main() -> None:
    torch.set_num_threads(1)
    where, number = (sys.argv[4], int(sys.argv[5])) if len(sys.argv) > 4 else ("", 0)
    if where == "shard":
        kill_at_shard(number)
    run(*(Path(argument) for argument in sys.argv[1:4]), callbacks=[Kill(where, number)] if where else None)


if __name__ == "__main__":
    main()
