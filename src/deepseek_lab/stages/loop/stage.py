"""The training loop that every stage shares: one Lightning batch is one optimiser step.

A step is a list of micro-batches. Its loss is divided by the counts of the whole step over all ranks, so
cutting the step into 1, 2 or 8 micro-batches changes no gradient even where they hold unequal numbers of
tokens; then clip, set the learning rate, step, apply the stage's own rule, log. Lightning's accumulation
divides by the number of micro-batches and its clipping refuses manual optimisation, so neither is used.

Losses are read from the device at logged steps only; a step that is not finite changes no weight and
stops the run. A stage holds its parts: `records` (curves), `resumable` (what a checkpoint keeps) and
`validation`. Left out: what the loss is (`counts`, `micro_loss`), curves that are not losses (callbacks/).
"""

from abc import abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn

from deepseek_lab.checkpoint.first_rank import send_from_first
from deepseek_lab.precision.applying import apply
from deepseek_lab.precision.observation import non_finite_operand
from deepseek_lab.precision.recipe import FullPrecision, Recipe
from deepseek_lab.stages.errors import TrainingError
from deepseek_lab.stages.loop.batches import HeldOutBatches, StageData, StepBatch, TrainingSteps
from deepseek_lab.stages.loop.clipping import clip_gradients
from deepseek_lab.stages.loop.nan_search import first_non_finite
from deepseek_lab.stages.loop.records import Records
from deepseek_lab.stages.loop.resume import ResumableState
from deepseek_lab.stages.loop.window import Window
from deepseek_lab.trainer_plugins.sharded import shard


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


class Validation(Protocol):
    """How a stage is judged on held-out data: sums over its batches, and one division at the end."""

    def start(self) -> None:
        """Sums start at zero."""

    def add(self, batch: StepBatch) -> None:
        """Adds one held-out batch."""

    def finish(self) -> None:
        """Records the means over all batches and ranks."""


class Stage(LightningModule):
    """Base of every stage. Subclasses give `counts`, `micro_loss` and `validation`, and may add `after_step`."""

    model: Any
    validation: Validation
    bad_step: Tensor
    tokens_seen: Tensor

    def __init__(
        self,
        model: nn.Module,
        data: StageData,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
        seed: int,
        validation_batches: int | None = None,
        precision: Recipe | None = None,
    ) -> None:
        """`validation_batches` None takes the whole held-out split; `precision` None is fp32."""
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.data = data
        self.optimizer_config = optimizer
        self.schedule = schedule
        self.seed = seed
        self.validation_batches = validation_batches
        self.precision = precision or FullPrecision(name="fp32")
        self.steps_done = 0
        self.records = Records(self)
        self.resumable = ResumableState(self, seed, str(data.manifest["hash"]))
        self.window = Window()
        """Sums of the values of the steps since the last logged one."""
        self.paused_seconds = 0.0
        """Seconds that went neither into steps nor into data: validation, checkpoints."""
        self.register_buffer("bad_step", torch.full((), -1, dtype=torch.int64), persistent=False)
        self.register_buffer("tokens_seen", torch.zeros((), dtype=torch.int64), persistent=False)

    # What a stage defines

    @abstractmethod
    def counts(self, micro: Any) -> Tensor:
        """(n,) int64 counts of a micro-batch that the step's losses are divided by; the first counts tokens."""

    @abstractmethod
    def micro_loss(self, micro: Any, totals: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a micro-batch and its named parts, divided by the step's `totals` (n,) of `counts`.

        Each is a share of a sum: the step's value is the sum over micro-batches and ranks.
        """

    def after_step(self) -> None:
        """Rules applied after the optimiser's step (router biases). The base class has none."""

    @property
    def modules_rest(self) -> bool:
        """Whether a part of the model may get no gradient in some step. The base class knows none."""
        return False

    def finish_means(self, means: dict[str, float]) -> dict[str, float]:
        """Last change to the means of a window before they are logged. The base class changes none."""
        return means

    @property
    def companions(self) -> dict[str, nn.Module]:
        """Models read from files that are neither trained nor stored here; the base class has none."""
        return {}

    # Where the run stands

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
        """Whether a validation follows the step just finished; the last step always has one."""
        every: Any = self.trainer.val_check_interval
        return self.trainer.enable_validation and (self.steps_done % every == 0 or self.is_last_step)

    # The step

    def training_step(self, batch: StepBatch, batch_idx: int) -> None:
        """One optimiser step."""
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        rate = self._set_learning_rate(optimizer)
        totals = self._totals(batch)
        parts = self._accumulate_gradients(batch, totals)
        norm = clip_gradients(self.model, self.optimizer_config.max_grad_norm, self.over_ranks)
        self._guard(optimizer.optimizer, parts["train/loss"], norm)
        optimizer.step()
        self.after_step()
        self.steps_done += 1
        self.tokens_seen += totals[0]
        self.window.add({**parts, "train/grad_norm": norm / self.trainer.world_size})
        if self.log_due:
            self._record_window(rate)
        if self.is_last_step:
            # Lightning validates when told to stop: the last step has a validation whatever the interval.
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

    def setup(self, stage: str) -> None:
        """All ranks begin with the weights of rank 0, which alone has read those that come from files."""
        if self.trainer.world_size > 1:
            send_from_first([self, *self.companions.values()], self.trainer.strategy.root_device)

    def configure_model(self) -> None:
        """Lays the precision's recipe over the model, then shards it where the strategy has a mesh (trainer=fsdp).

        Both in place and with names kept; a second call changes nothing.
        """
        apply(self.model, self.precision, self.trainer.strategy.root_device.type)
        if self._device_mesh is not None:
            shard(self.model, self._device_mesh["data_parallel"])

    def over_ranks(self, tensor: Tensor, operation: str = "SUM") -> Tensor:
        """The sum (MIN, MAX …) of a tensor over all ranks; Lightning's own reduction adds a barrier to each."""
        if self.trainer.world_size == 1:
            return tensor
        total = tensor.clone()
        torch.distributed.all_reduce(total, op=getattr(torch.distributed.ReduceOp, operation))
        return total

    def _record_window(self, rate: float) -> None:
        self.require_finite()
        means = self.finish_means(self.window.means(self.over_ranks))
        self.records.scalars({**means, "train/lr": rate, "train/tokens": float(self.tokens_seen)})

    # Losses that are no numbers

    def _guard(self, optimizer: torch.optim.Optimizer, loss: Tensor, norm: Tensor) -> None:
        """Keeps a step that is not finite away from the weights.

        On a GPU a fused optimiser skips the update by itself (torch's `found_inf`, as its gradient scaler
        uses it), this step and every later one, until the next logged step reads the number: no step waits
        for the device. Elsewhere reading it is free, or the only way.
        """
        any_rank = self.over_ranks((~(loss.isfinite() & norm.isfinite())).int()) > 0
        bad = any_rank & (self.bad_step < 0)
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
        micro_batches = self.data.step_batch(step - 1, self.global_rank, self.trainer.world_size)
        batch = StepBatch(micro_batches).to(self.device)
        totals = self._totals(batch)
        operand = non_finite_operand(self.model)
        where = first_non_finite(
            self.model,
            lambda: torch.stack([self.micro_loss(micro, totals)[0] for micro in batch.micro_batches]).sum(),
            lambda place: int(self.over_ranks(torch.tensor(place, device=self.device), "MIN")),
        )
        quantised = f"; first quantised as the {operand}" if operand else ""
        raise TrainingError(f"step {step}: the loss or its gradient is not finite, first in the {where}{quantised}")

    # Parts that Lightning calls: curves, checkpoints, validation

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Writes the curves of the step before."""
        self.records.flush_finished_row()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what Lightning leaves out; see `ResumableState`."""
        self.resumable.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it back. Raises DataError when it is of another run."""
        self.resumable.load(checkpoint)

    def on_train_start(self) -> None:
        """Puts the random generators back last, after loaders and loggers were built."""
        self.resumable.restore_random_state()

    def on_validation_epoch_start(self) -> None:
        """See `Validation`."""
        self.validation.start()

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """See `Validation`."""
        self.validation.add(batch)

    def on_validation_epoch_end(self) -> None:
        """See `Validation`."""
        self.validation.finish()

    # Batches

    def train_dataloader(self) -> Iterable[StepBatch]:
        """Batches from the step the run stands at."""
        return TrainingSteps(self)

    def val_dataloader(self) -> Iterable[StepBatch]:
        """Held-out batches."""
        return HeldOutBatches(self)
