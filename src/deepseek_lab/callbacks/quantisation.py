"""What FP8 does to the numbers of a step, as curves: underflow, largest magnitudes, scales, one layer's error.

Taken every so many steps, since it costs several passes over every operand. Values are of rank 0. A model that
nothing is quantised in records nothing.
"""

from contextlib import ExitStack
from typing import Any

from lightning.pytorch import Callback, Trainer

from deepseek_lab.precision.observation import LOWEST_EXPONENT, Observation, observing
from deepseek_lab.precision.operands import KINDS


class Quantisation(Callback):
    """Records `fp8/*` in the first step and every `every`-th."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._open = ExitStack()
        self._observation: Observation | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Observes a step that is due."""
        step = pl_module.steps_done + 1
        if step == 1 or step % self.every == 0:
            self._observation = self._open.enter_context(observing(pl_module.model))

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Records what was seen."""
        seen, self._observation = self._observation, None
        self._open.close()
        if seen is None or not any(seen.nonzero.values()):
            return
        values = {}
        for kind in KINDS:
            values[f"fp8/{kind}/underflow_share"] = seen.underflow_share(kind)
            values[f"fp8/{kind}/amax"] = seen.amax[kind]
            share = seen.scales[kind] / seen.scales[kind].sum().clamp_min(1)
            pl_module.records.histogram(f"fp8/{kind}/scale", share.tolist(), LOWEST_EXPONENT)
        if seen.relative_error is not None:
            values["fp8/relative_error"] = seen.relative_error
        pl_module.records.scalars(values)
