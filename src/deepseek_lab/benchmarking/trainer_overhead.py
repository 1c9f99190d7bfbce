"""What the trainer costs: a run as `scripts/train.py` makes it, logger, curves and progress line as shipped, beside a
bare loop over the same data, loss, optimiser and schedule, in blocks of steps by turns.

CPU seconds of the process, which other programs do not change much; one thread. The bare blocks run inside a callback
between two steps of the run. At the end the weights of both must agree: the bare loop did the same work.

Left out: validation, samples and checkpoints, which a bare loop would want at the same cost.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Callback
from omegaconf import DictConfig
from rich.table import Table

from deepseek_lab.benchmarking import paired
from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.experiment.training import TrainingRun
from deepseek_lab.objectives.next_token import chunked_cross_entropy
from deepseek_lab.stages.held_out import token_targets

RUN, BARE = "as shipped", "bare loop"
ROWS = {"micro": "model=micro", "nano": "model=nano"}
BLOCK = 10
"""Steps of a block."""

FEWEST = 30
"""Blocks of each, whatever the rounds: the difference is small."""

SAME = 1e-4
"""By which a weight may differ after all steps: sums in another order grow through the steps."""


class BareLoop:
    """The steps of a run's own stage, written out: forward, loss, backward, clip, rate, step."""

    def __init__(self, stage: Any, max_steps: int) -> None:
        self.stage, self.max_steps, self.number = stage, max_steps, 0
        self.model = copy.deepcopy(stage.model)
        self.optimizer = stage.optimizer_config.build(self.model)
        self.peak = [group["lr"] for group in self.optimizer.param_groups]

    def step(self) -> None:
        """One step on the run's next batch; `data` gives it as one micro-batch."""
        (micro,) = self.stage.data.step_batch(self.number)
        targets_BT, valid_BT = token_targets(micro, self.stage.isolate_documents)
        hidden_ND = self.model(micro.tokens_BT1[:, :-1]).hidden_BTD.flatten(0, 1)
        share_N = (valid_BT / valid_BT.sum()).flatten()
        loss, _ = chunked_cross_entropy(hidden_ND, self.model.head_weight_VD, targets_BT.flatten(), share_N)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.stage.optimizer_config.max_grad_norm)
        factor = self.stage.schedule.factor(self.number, self.max_steps)
        for group, rate in zip(self.optimizer.param_groups, self.peak, strict=True):
            group["lr"] = rate * factor
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.number += 1


class Blocks(Callback):
    """Stops the run's clock after each block, runs as many bare steps, and starts it again; the first is a warm-up."""

    def __init__(self, rounds: int, report: Callable[[str], None]) -> None:
        self.rounds, self.report = rounds, report
        self.seconds: dict[str, list[float]] = {RUN: [], BARE: []}
        self.started = 0.0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Between two steps of the run."""
        if batch_idx == 0:
            self.bare = BareLoop(pl_module, trainer.max_steps)
        elif batch_idx % BLOCK == 0:
            self.seconds[RUN].append(time.process_time() - self.started)
        if batch_idx % BLOCK == 0 and batch_idx <= self.rounds * BLOCK:
            self._bare_block()
        elif batch_idx > self.rounds * BLOCK and batch_idx % BLOCK == 0:
            self.bare.step()  # as the run's last step, which a validation follows and nobody times

    def _bare_block(self) -> None:
        start = time.process_time()
        for _ in range(BLOCK):
            self.bare.step()
        self.started = time.process_time()
        self.seconds[BARE].append(self.started - start)
        if len(self.seconds[BARE]) % 10 == 0:
            self.report(f"block {len(self.seconds[BARE])} of {self.rounds + 1}")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Raises ValueError where the weights of both differ."""
        pairs = zip(pl_module.model.parameters(), self.bare.model.parameters(), strict=True)
        apart = max(float((ours - bare).abs().max().detach()) for ours, bare in pairs)
        if apart > SAME:
            raise ValueError(f"the bare loop does not do the run's work: weights differ by {apart:.2g}")


class TimedRun(TrainingRun):
    """A run that someone watches."""

    def __init__(self, cfg: DictConfig, folder: Path, blocks: Blocks) -> None:
        self.blocks = blocks
        super().__init__(cfg, folder)

    def _observers(self) -> list[Callback]:
        return [*super()._observers(), self.blocks]


def measure(name: str, rounds: int, report: Callable[[str], None]) -> dict[str, Any]:
    """CPU seconds of the blocks of both, ready for json."""
    register_resolvers()
    rounds = max(rounds, FEWEST)
    steps = (rounds + 1) * BLOCK + 1
    with tempfile.TemporaryDirectory() as folder, Composer(PROJECT_ROOT / "conf", "train") as composer:
        words = [*ROWS[name].split(), "attention=mha", "ffn=dense", f"trainer.max_steps={steps}", "trainer.n_threads=1"]
        words += [f"trainer.validate_every={steps + 1}", f"trainer.checkpoint_every={steps + 1}"]
        blocks = Blocks(rounds, report)
        config = composer.compose([*words, "trainer.validation_batches=1"])
        HydraConfig.instance().set_config(config)  # the run's curves tell what was chosen
        run = TimedRun(task_config(config), Path(folder), blocks)
        run.fit()
    seconds = {who: values[1:] for who, values in blocks.seconds.items()}
    return {"row": name, "rounds": rounds, "params": run.counts.total_params, "steps": BLOCK, "seconds": seconds}


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a row and contestant."""
    return paired.table(f"{BLOCK} steps, CPU ms, one thread", results, BARE)


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes trainer_overhead.json."""
    paired.save(results, folder / "trainer_overhead.json")
