"""Time and memory of an iteration of stage=grpo: a few are run, in a folder that is thrown away.

The network is the start's own, as its run stores it, so nobody has to type its sizes again. The first iteration
warms up and is not counted where there are more.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepseek_lab.command_line.composition import composer_of
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.experiment.checking import check
from deepseek_lab.experiment.finished import FinishedRun
from deepseek_lab.experiment.published import PublishedModel
from deepseek_lab.experiment.quiet import quiet_lightning
from deepseek_lab.experiment.training import TrainingRun

NETWORK = ("model", "attention", "ffn", "mtp", "balance", "precision")
CHOSEN = ("task", "template", "rollout", "loss")
_SECONDS = ("perf/rollout_seconds", "perf/reward_seconds", "perf/update_seconds")


@dataclass(frozen=True)
class Step:
    """Seconds an iteration, by part, and bytes: the peak on a GPU, else what the process holds."""

    rollout: float
    reward: float
    update: float
    memory: int

    @property
    def seconds(self) -> float:
        """Of a whole iteration."""
        return self.rollout + self.reward + self.update


def train_config(cfg: DictConfig, run: FinishedRun | PublishedModel) -> DictConfig:
    """The config of the iterations: stage=grpo with this task, prompt, rollout, loss and start. Raises ConfigError."""
    with composer_of("train") as composer:
        composed = task_config(composer.compose(["stage=grpo"]))
    OmegaConf.set_struct(composed, False)
    # A published model brings its own network wherever training starts from it.
    stored = run.config if isinstance(run, FinishedRun) else composed
    for node in (*NETWORK, *CHOSEN):
        composed[node] = (stored if node in NETWORK else cfg)[node]
    steps = int(cfg.steps)
    composed.merge_with(
        {
            "init_from": str(run.checkpoint),
            "seed": cfg.seed,
            "data": {"batch_size": cfg.batch_size, "validation_questions": 1},
            "trainer": {"max_steps": steps, "validate_every": steps, "checkpoint_every": steps, "log_every": 1},
        }
    )
    if cfg.n_threads:
        composed.trainer.n_threads = cfg.n_threads
    return composed


def timed(cfg: DictConfig, run: FinishedRun | PublishedModel) -> Step:
    """Runs the iterations. Raises ConfigError for what training refuses, too."""
    composed = train_config(cfg, run)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        check(composed)
        quiet_lightning()
        TrainingRun(composed, Path(folder)).fit()
        rows = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return _step(rows)


def _step(rows: Sequence[dict[str, Any]]) -> Step:
    iterations = [row for row in rows if _SECONDS[0] in row]
    counted = iterations[1:] or iterations
    rollout, reward, update = (fmean(row[name] for row in counted) for name in _SECONDS)
    memory = [int(row["perf/memory_bytes"]) for row in rows if "perf/memory_bytes" in row]
    return Step(rollout, reward, update, max(memory, default=0))
