"""`scripts/train.py`: from a composed config to a finished run folder.

The order matters for exact resume: the global generators are seeded before the weights are drawn, data
draws from its own pure function of (seed, step), and a checkpoint puts everything else back.
"""

import contextlib
import json
import math
import random
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Callback, Trainer
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from deepseek_lab.callbacks.busy_machine import BusyMachine
from deepseek_lab.callbacks.checkpointing import Checkpointing
from deepseek_lab.callbacks.expert_load import ExpertLoad
from deepseek_lab.callbacks.profile import Profile
from deepseek_lab.callbacks.progress import ProgressLine
from deepseek_lab.callbacks.provenance import Provenance
from deepseek_lab.callbacks.quantisation import Quantisation
from deepseek_lab.callbacks.samples import Samples
from deepseek_lab.callbacks.summary import Summary, mark_done
from deepseek_lab.callbacks.throughput import Throughput
from deepseek_lab.callbacks.transcripts import Transcripts
from deepseek_lab.checkpoint.first_rank import unread_weights
from deepseek_lab.checkpoint.located import checkpoints_in, latest_checkpoint
from deepseek_lab.checkpoint.native import read_checkpoint
from deepseek_lab.command_line.ranks import started
from deepseek_lab.data.row_data import RowDataConfig
from deepseek_lab.experiment.banner import print_banner, print_note
from deepseek_lab.experiment.checking import check
from deepseek_lab.experiment.compiling import arrange_passes
from deepseek_lab.experiment.configs import read_configs
from deepseek_lab.experiment.facts import hyperparameters, summary_facts
from deepseek_lab.experiment.finished import device_of
from deepseek_lab.experiment.freed_memory import keep_freed_memory
from deepseek_lab.experiment.full_disk import kept_on_full_disk
from deepseek_lab.experiment.initial import keep_text_and_shape, network_of, require_untyped, started_model, take_head
from deepseek_lab.experiment.parallel import cluster_environment, lost_ranks_named, one_at_a_time, strategy
from deepseek_lab.experiment.quiet import quiet_lightning
from deepseek_lab.experiment.threads import threads_of_run, use_threads
from deepseek_lab.generation import generate
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.planning.counts import count
from deepseek_lab.precision.coverage import coverage
from deepseek_lab.precision.recipe import Float8
from deepseek_lab.precision.selection import peak_format
from deepseek_lab.stages.loop.stage import Stage
from deepseek_lab.stages.pair_configs import RewardConfig
from deepseek_lab.stages.reward import RewardStage
from deepseek_lab.trainer_plugins.checkpoint_io import AtomicCheckpointIO
from deepseek_lab.trainer_plugins.json_lines import JsonLinesLogger
from deepseek_lab.trainer_plugins.precision import precision_plugin
from deepseek_lab.trainer_plugins.tensorboard import TensorBoardCurves

SAMPLE_TOKENS = 96
NOT_VALIDATED = (
    "data.validation_share = 0: nothing is held out, so the run has no validation loss or bits per byte, no baseline, "
    "no samples of text and no record of experts' loads; reports and sweeps cannot rank it by them"
)
"""What a run says that validates nothing."""


def train(cfg: DictConfig) -> float:
    """Runs one job in Hydra's output folder; returns what a sweep ranks by.

    A job of a named sweep that is finished is not run again, and one that was cut off goes on.
    """
    if started().rank == 0:  # the others take its word: a stored config that it writes anew may be half there
        require_untyped(cfg.init_from, HydraConfig.get().overrides.task)
        check(cfg)
    folder = Path(HydraConfig.get().runtime.output_dir)
    if (folder / "DONE").exists() and not cfg.resume:
        print(f"finished already: {folder}", flush=True)
        return ranked_by(json.loads((folder / "summary.json").read_text())["metrics"])
    quiet_lightning()
    with kept_on_full_disk(folder):
        run = TrainingRun(cfg, folder)
        run.fit()
    return ranked_by(run.stage.records.latest)


def ranked_by(metrics: Mapping[str, float]) -> float:
    """What a sweep ranks a run by: its last validation loss; NaN of one that held nothing out."""
    return float(metrics.get("val/loss", math.nan))


def start_of(folder: Path, resume: str | None) -> Path | None:
    """The checkpoint that a run in `folder` starts from; None for a fresh run.

    Raises DataError when `resume` names a folder without a checkpoint.
    """
    if resume or checkpoints_in(folder / "checkpoints"):
        return latest_checkpoint(Path(resume) if resume else folder)
    return None


class TrainingRun:
    """The objects of one run, built in order; `fit` trains and marks the folder done."""

    def __init__(self, cfg: DictConfig, folder: Path) -> None:
        self.cfg = cfg
        self.folder = folder
        self.is_first = started().rank == 0
        self.console = Console(stderr=True, quiet=not self.is_first, markup=False, emoji=False)
        self.configs = read_configs(cfg)
        keep_freed_memory()
        self.checkpoint = start_of(folder, cfg.resume)
        saved = self._saved()
        self.first_step = int(saved["run"]["steps_done"]) if saved else 0
        self._seed()
        self.data = self._data()
        with contextlib.nullcontext() if self.is_first else unread_weights():  # they come when the ranks are connected
            self.model = self._model()
            self.counts = count(self.model, self.configs.data.seq_len)
            self.threads = threads_of_run(self.configs, self.counts, saved, self._device_type())
            use_threads(self.threads.number)
            self.stage = self._stage()
        if saved:
            self.stage.resumable.require_same_run(saved, companions_read=self.is_first)

    def _saved(self) -> dict[str, Any]:
        """What a checkpoint says of its run, without the weights; empty for a fresh run."""
        content = read_checkpoint(self.checkpoint, mapped=True) if self.checkpoint else {}
        return {part: content[part] for part in ("run", "model_config") if content}

    def _seed(self) -> None:
        random.seed(self.configs.seed)
        np.random.seed(self.configs.seed)
        torch.manual_seed(self.configs.seed)

    def _data(self) -> Any:
        """Text, conversations or pairs: what the stage asks for."""
        with one_at_a_time(Path(self.cfg.paths.cache)):
            return self.configs.data.build(self.configs.tokenizer, self.configs.model.vocab_size, self.configs.seed)

    def _model(self) -> Transformer:
        if self._starts_from is None:
            model = self.configs.model.build()
        else:
            model = started_model(self.configs.model, self._starts_from, isinstance(self.configs.stage, RewardConfig))
        arrange_passes(model, self.configs, self._device_type())
        return model.train()

    @property
    def _starts_from(self) -> str | None:
        """The run whose weights are taken; None where a checkpoint of this one holds them, or nothing does."""
        return None if self.checkpoint else self.cfg.init_from

    def _stage(self) -> Stage:
        c = self.configs
        stage: Stage = c.stage.build(
            self.model,
            self.data,
            c.balance,
            isolate_documents=c.data.isolate_documents,
            optimizer=c.optimizer,
            schedule=c.schedule,
            seed=c.seed,
            validation_batches=c.trainer.validation_batches,
            precision=c.precision,
        )
        if self._starts_from is not None and isinstance(stage, RewardStage):
            take_head(stage.model, self._starts_from)
        return stage

    def _take_folder(self) -> None:
        """The first change to the run's folder: whatever is refused was refused before."""
        (self.folder / "DONE").unlink(missing_ok=True)
        if not self.checkpoint:
            # What a run killed before its first checkpoint left would show as a second line in TensorBoard.
            shutil.rmtree(self.folder / "tb", ignore_errors=True)
        network = network_of(self.cfg.init_from, self.cfg.resume)
        keep_text_and_shape(self.folder, self.data.tokenizer, network, isinstance(self.configs.data, RowDataConfig))

    def fit(self) -> None:
        """Trains to the last step. Lightning calls our hooks; see stages/loop/stage for what a step is."""
        if self.is_first:
            self._take_folder()
        peak = self.configs.hardware.peak(self._device_type(), peak_format(self.configs.precision, self._device_type()))
        tokens_in, max_steps = self.configs.data.tokens_in, self.configs.trainer.max_steps
        tokens, done = tokens_in(max_steps), tokens_in(self.first_step)
        said = coverage(self.model, self.configs.precision, self._device_type())
        steps, notes = (self.first_step, max_steps), [*getattr(self.data, "notes", ())]
        notes += [] if self.configs.data.validates else [NOT_VALIDATED]
        print_banner(self.console, self.folder, self.counts, tokens, tokens - done, peak, *steps, said, notes)
        print_note(self.console, "threads", self.threads.why)
        trainer = self._trainer(peak)
        with lost_ranks_named(self.folder):
            trainer.fit(self.stage, ckpt_path=self.checkpoint)
        if self.is_first:
            mark_done(self.folder)

    def _device_type(self) -> str:
        return device_of(self.configs.trainer.accelerator).type

    def _trainer(self, peak: float | None) -> Trainer:
        settings = self.configs.trainer
        resume_step = self.first_step if self.checkpoint else None
        curves = TensorBoardCurves(self.folder, resume_step)
        config = OmegaConf.to_yaml(self.cfg, resolve=True)
        curves.describe_run(hyperparameters(self.configs, self.counts), ["val/loss", "val/bits_per_byte"], config)
        return Trainer(
            accelerator="gpu" if self._device_type() == "cuda" else "cpu",
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy=strategy(settings, self.stage.modules_rest),
            max_steps=settings.max_steps,
            max_epochs=-1,
            check_val_every_n_epoch=None,
            val_check_interval=settings.validate_every,
            limit_val_batches=1.0 if self.configs.data.validates else 0,
            log_every_n_steps=settings.log_every,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            logger=[JsonLinesLogger(self.folder, resume_step), curves],
            callbacks=[
                Throughput(self.counts.flops_per_token, peak),
                ExpertLoad(),
                *self._observers(),
                Samples(self._sample),
                Transcripts(self.folder, resume_step),
                Provenance(self.folder, self.configs.seed, self.data.manifest),
                ProgressLine(self.console),
                BusyMachine(self.folder, partial(print_note, self.console, "busy")),
                Summary(self.folder, self._facts()),
                Checkpointing(self.folder, settings.checkpoint_every, settings.keep_checkpoints),
            ],
            plugins=[
                AtomicCheckpointIO(),
                cluster_environment(),
                precision_plugin(self.configs.precision, self._device_type()),
            ],
        )

    def _observers(self) -> list[Callback]:
        """Who watches what is quantised, if anything is, and who profiles, if someone asked."""
        recipe, asked = self.configs.precision, self.configs.profile
        watching: list[Callback] = [Quantisation(recipe.observe_every)] if isinstance(recipe, Float8) else []
        if asked.steps:
            watching.append(Profile(self.folder, asked.warmup, asked.steps, asked.rows, self.console))
        return watching

    def _facts(self) -> dict[str, Any]:
        """For the summary, which rank 0 alone writes; they cost a pass over the corpus."""
        return summary_facts(self.cfg, self.folder, self.configs, self.counts, self.data) if self.is_first else {}

    def _sample(self) -> str:
        """A short continuation, greedy, so that it shows the model and not the luck of a draw."""
        prompt = self.data.sample_prompt()
        room = min(SAMPLE_TOKENS, self.model.config.max_seq_len - len(prompt))
        ids = generate(self.model, [prompt], room, temperature=0.0, eos_id=self.data.tokenizer.eos_id)
        text: str = self.data.tokenizer.decode(ids[0].tolist(), skip_special=True)
        return text
