"""The training loop that every stage shares: one Lightning batch is one optimiser step.

A step is a list of micro-batches. Its loss is divided by the counts of the whole step over all ranks, so
cutting the step into 1, 2 or 8 micro-batches changes no gradient even where they hold unequal numbers of
tokens; then clip, set the learning rate, step, apply the stage's own rule, log. Lightning's accumulation
divides by the number of micro-batches and its clipping refuses manual optimisation, so neither is used.

Exact resume: batch k is a pure function of (seed, k); everything else that moves is in the checkpoint, and
a checkpoint stands only between two steps. Losses are read from the device at logged steps only; a step
that is not finite changes no weight and stops the run.

Left out: what the loss is (`counts`, `micro_loss`), curves that are not losses (callbacks/).
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn

from deepseek_lab import metrics
from deepseek_lab.checkpoint import native, random_state
from deepseek_lab.config import DataError
from deepseek_lab.stages.errors import TrainingError
from deepseek_lab.stages.finite import first_non_finite
from deepseek_lab.stages.window import Window
from deepseek_lab.trainer_plugins.loop_state import finished_step


class StageData(Protocol):
    """What the loop asks of data: batch k as a pure function, held-out batches, an identity."""

    manifest: dict[str, Any]

    def step_batch(self, k: int, rank: int = 0, world_size: int = 1) -> Sequence[Any]:
        """The micro-batches of optimiser step k (from 0) for one rank; each has `.to(device)`."""

    def validation_batches(self, limit: int | None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Held-out micro-batches for one rank, the same at every call."""


class OptimizerConfig(Protocol):
    """What the loop asks of an optimiser's Config."""

    @property
    def max_grad_norm(self) -> float | None:
        """Global norm that gradients are clipped to; None or 0 clips nothing."""

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser, its groups at their full learning rate."""


class ScheduleConfig(Protocol):
    """What the loop asks of a schedule's Config."""

    def factor(self, step: int, max_steps: int) -> float:
        """What the learning rate is multiplied by in step `step` (from 0)."""


class StepBatch:
    """The micro-batches of one step; a class of its own, so that Lightning does not look inside."""

    def __init__(self, micro_batches: Sequence[Any]) -> None:
        self.micro_batches = list(micro_batches)

    def to(self, device: torch.device) -> "StepBatch":
        """All micro-batches on `device`."""
        return StepBatch([micro.to(device) for micro in self.micro_batches])


class _Batches:
    """Lightning's loader: starts where the stage stands and ends with the run. No workers, no randomness."""

    def __init__(self, stage: "Stage", validation: bool) -> None:
        self._stage = stage
        self._validation = validation

    def __iter__(self) -> Iterator[StepBatch]:
        stage, ranks = self._stage, (self._stage.global_rank, self._stage.trainer.world_size)
        if self._validation:
            for micro in stage.data.validation_batches(stage.validation_batches, *ranks):
                yield StepBatch([micro])
        else:
            for k in range(stage.steps_done, stage.trainer.max_steps):
                yield StepBatch(stage.data.step_batch(k, *ranks))


class Stage(LightningModule):
    """Base of every training stage. Subclasses give `counts`, `micro_loss`, and may add `after_step`."""

    tokens_seen: Tensor
    bad_step: Tensor

    def __init__(
        self,
        model: nn.Module,
        data: StageData,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
        seed: int,
        validation_batches: int | None = None,
    ) -> None:
        """`validation_batches` None takes the whole held-out split."""
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.data = data
        self.optimizer_config = optimizer
        self.schedule = schedule
        self.seed = seed
        self.validation_batches = validation_batches
        self.steps_done = 0
        self.latest: dict[str, float] = {}
        self.paused_seconds = 0.0
        """Seconds that went neither into steps nor into data: validation, checkpoints."""
        self._window = Window()
        self._random_state: dict[str, Any] | None = None
        self._has_open_row = False
        self.register_buffer("tokens_seen", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("bad_step", torch.full((), -1, dtype=torch.int64), persistent=False)

    # What a stage defines

    @abstractmethod
    def counts(self, micro: Any) -> Tensor:
        """(n,) fp32 counts of a micro-batch that the step's losses are divided by; the first counts tokens."""

    @abstractmethod
    def micro_loss(self, micro: Any, totals: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a micro-batch and its named parts, divided by the step's `totals` (n,) of `counts`.

        All are parts of sums: the step's value is the sum over micro-batches and ranks.
        """

    def after_step(self) -> None:
        """Rules applied after the optimiser's step (router biases). The base class has none."""

    def finish_means(self, means: dict[str, float]) -> dict[str, float]:
        """Last change to the means of a window before they are logged. The base class changes none."""
        return means

    # The step

    def training_step(self, batch: StepBatch, batch_idx: int) -> None:
        """One optimiser step."""
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        rate = self._set_learning_rate(optimizer)
        totals = self._totals(batch)
        parts = self._accumulate_gradients(batch, totals)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.optimizer_config.max_grad_norm or float("inf"))
        self._guard(optimizer.optimizer, parts["train/loss"], norm)
        optimizer.step()
        self.after_step()
        self.steps_done += 1
        self.tokens_seen += totals[0].long()
        share = 1 / self.trainer.world_size
        self._window.add({**parts, "train/grad_norm": norm * share})
        if self.log_due:
            self._record_window(rate)
        # The last step is always validated, whatever the interval: Lightning validates when told to stop.
        if self.is_last_step:
            self.trainer.should_stop = True

    def _totals(self, batch: StepBatch) -> Tensor:
        counts = [self.counts(micro) for micro in batch.micro_batches]
        return self.over_ranks(torch.stack(counts).sum(0)).clamp_min(1)

    def _accumulate_gradients(self, batch: StepBatch, totals: Tensor) -> dict[str, Tensor]:
        """Backward of every micro-batch; returns the sums of their parts on this rank."""
        sums: dict[str, Tensor] = {}
        last = len(batch.micro_batches) - 1
        for i, micro in enumerate(batch.micro_batches):
            loss, parts = self.micro_loss(micro, totals)
            with self._gradient_sync(i == last):
                # DDP takes the mean over ranks; the totals are those of all ranks already.
                self.manual_backward(loss * self.trainer.world_size)
            for name, value in {"train/loss": loss, **parts}.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        return sums

    def _gradient_sync(self, on: bool) -> AbstractContextManager[Any]:
        strategy = self.trainer.strategy
        return nullcontext() if on or not isinstance(strategy, ParallelStrategy) else strategy.block_backward_sync()

    def _set_learning_rate(self, optimizer: Any) -> float:
        factor = self.schedule.factor(self.steps_done, self.trainer.max_steps)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        return float(optimizer.param_groups[0]["lr"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser; each group remembers its full learning rate."""
        optimizer = self.optimizer_config.build(self.model)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        return optimizer

    def over_ranks(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        if self.trainer.world_size == 1:
            return tensor
        total: Tensor = self.trainer.strategy.reduce(tensor, reduce_op="sum")
        return total

    # Losses that are no numbers

    def _guard(self, optimizer: torch.optim.Optimizer, loss: Tensor, norm: Tensor) -> None:
        """Keeps a step that is not finite away from the weights.

        On a GPU a fused optimiser skips the update by itself (torch's `found_inf`, as its gradient scaler
        uses it), this step and every later one, until the next logged step reads the number: no step waits
        for the device. Elsewhere reading it is free, or the only way.
        """
        bad = ~(loss.isfinite() & norm.isfinite()) & (self.bad_step < 0)
        self.bad_step = torch.where(bad, self.steps_done + 1, self.bad_step)
        if self.device.type == "cuda" and optimizer.defaults.get("fused"):
            optimizer.found_inf = (self.bad_step >= 0).float()  # type: ignore[attr-defined]
        else:
            self.require_finite()

    def require_finite(self) -> None:
        """Raises TrainingError with step and layer when a step was not finite."""
        step = int(self.bad_step)
        if step < 0:
            return
        data = self.data.step_batch(step - 1, self.global_rank, self.trainer.world_size)
        batch = StepBatch(data).to(self.device)
        totals = self._totals(batch)
        where = first_non_finite(
            self.model, lambda: torch.stack([self.micro_loss(micro, totals)[0] for micro in batch.micro_batches]).sum()
        )
        raise TrainingError(f"step {step}: the loss or its gradient is not finite, first in the {where}")

    # Curves

    @property
    def is_last_step(self) -> bool:
        """Whether the run's last step is done."""
        return self.steps_done >= self.trainer.max_steps

    @property
    def log_due(self) -> bool:
        """Whether the step just finished is one that curves have a point at."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return self.steps_done == 1 or self.steps_done % every == 0 or self.is_last_step

    @property
    def validation_due(self) -> bool:
        """Whether a validation follows the step just finished."""
        every: Any = self.trainer.val_check_interval
        return self.trainer.enable_validation and (self.steps_done % every == 0 or self.is_last_step)

    def _record_window(self, rate: float) -> None:
        self.require_finite()
        means = self._window.means(self.over_ranks)
        self.record({**self.finish_means(means), "train/lr": rate, "train/tokens": float(self.tokens_seen)})

    def record(self, values: Mapping[str, float]) -> None:
        """Logs values of the step just finished. Raises KeyError for a name that metrics.py lacks."""
        for name in values:
            metrics.describe(name)
        self.latest.update(values)
        for logger in self.loggers:
            logger.log_metrics(dict(values), step=self.steps_done)
        self._has_open_row = True

    def record_histogram(self, name: str, heights: Sequence[float]) -> None:
        """Logs one bar an index. Raises KeyError for a name that metrics.py lacks."""
        metrics.describe(name)
        for logger in self._curve_loggers():
            logger.log_histogram(name, heights, self.steps_done)

    def record_text(self, name: str, text: str) -> None:
        """Logs a text of the step just finished."""
        for logger in self._curve_loggers():
            logger.log_text(name, text, self.steps_done)
        self._has_open_row = True

    def _curve_loggers(self) -> list[metrics.CurveLogger]:
        return [logger for logger in self.loggers if isinstance(logger, metrics.CurveLogger)]

    def flush_loggers(self, to_disk: bool = False) -> None:
        """Closes the row of a finished step; before a checkpoint also forces it `to_disk`."""
        self._has_open_row = False
        for logger in self.loggers:
            logger.save()
        for curve_logger in self._curve_loggers() if to_disk else []:
            curve_logger.sync()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """The step before is finished, validation and all: its row can be written."""
        if self._has_open_row:
            self.flush_loggers()

    # Batches

    def train_dataloader(self) -> Any:
        """Batches from the step the run stands at."""
        return _Batches(self, validation=False)

    def val_dataloader(self) -> Any:
        """Held-out batches."""
        return _Batches(self, validation=True)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what Lightning leaves out: position, random state, open window, model config."""
        checkpoint["loops"] = finished_step(self.steps_done)
        checkpoint["model_config"] = native.describe(self.model.config)
        checkpoint["run"] = {
            **self._identity(),
            "steps_done": self.steps_done,
            "tokens_seen": int(self.tokens_seen),
            "window": self._window.state_dict(),
            "latest": dict(self.latest),
            "random": random_state.capture(self.device),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it back. Raises DataError when the checkpoint is of another seed, data set or model."""
        self.require_same_run(checkpoint)
        run = checkpoint["run"]
        self.steps_done = run["steps_done"]
        self.tokens_seen.fill_(run["tokens_seen"])
        self._window.load_state_dict(run["window"])
        self.latest = dict(run["latest"])
        self._random_state = run["random"]

    def _identity(self) -> dict[str, Any]:
        return {"stage": type(self).__name__, "seed": self.seed, "data": self.data.manifest["hash"]}

    def require_same_run(self, checkpoint: dict[str, Any]) -> None:
        """Raises DataError, in one line, when going on from `checkpoint` would be another run."""
        for name, ours in self._identity().items():
            theirs = checkpoint["run"].get(name)
            if theirs != ours:
                raise DataError(f"the checkpoint is of another run: its {name} is {theirs}, here it is {ours}")
        if native.rebuild(checkpoint["model_config"]) != self.model.config:
            raise DataError("the checkpoint is of another run: its model has another config")

    def on_train_start(self) -> None:
        """Random generators go back last: building loaders and loggers must not have moved them."""
        if self._random_state is not None:
            random_state.restore(self._random_state, self.device)
            self._random_state = None
