"""A text that the model writes at each validation.

The sampler comes from outside (it needs a tokenizer and a way to generate); whatever it draws, the
random generators of training are put back, so a run with samples is to the bit the run without. Every rank
writes the same text, since a sharded model runs on all of them or on none; rank 0's is kept.
"""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, Trainer

from deepseek_lab.checkpoint import random_state


class Samples(Callback):
    """Records the text of `sampler()` as `sample`."""

    def __init__(self, sampler: Callable[[], str]) -> None:
        self.sampler = sampler

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """The model is in eval mode here, without gradients."""
        if trainer.state.fn != "fit":
            return
        with random_state.untouched(pl_module.device):
            text = self.sampler()
        pl_module.records.text("sample", text)
