"""`hydra/launcher=process`: every job of a sweep in a fresh process of its own, in RUN mode, with its devices set.

So one job's memory, threads and faults are no other's, and a job on several devices starts its ranks with its own
command line, never with that of the sweep. All jobs are composed before the first starts.

Hydra finds plugins only in the namespace package `hydra_plugins` and imports all of them at every start, so nothing
heavy is imported here. Left out: `hydra/launcher=basic`, Hydra's own, which runs the jobs one after the other in one
process, for tests and notebooks; other machines (`hydra/launcher=slurm`).
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from deepseek_lab.sweep.job_process import PlannedJob
    from deepseek_lab.sweep.slots import Needs, Slots

_SET_HERE = ("hydra.mode", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")


class ProcessLauncher(Launcher):
    """Starts the running script again for each job.

    jobs_at_once: None takes one a GPU, or on the CPU one a core
    log_lines: of a failed job's log that are shown
    """

    def __init__(self, jobs_at_once: int | None, log_lines: int) -> None:
        self.jobs_at_once = jobs_at_once
        self.log_lines = log_lines

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's call before `launch`; the function's `outcome` is told of failures."""
        self.hydra_context: Any = hydra_context
        self.task_function: Any = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs; each returns its last validation loss, or None where it failed.

        A job that was typed twice, in whatever words, runs once.
        """
        from deepseek_lab.command_line.naming import job_hash
        from deepseek_lab.sweep.dispatch import Dispatch
        from deepseek_lab.sweep.job_process import note_order

        setup_globals()
        configs = [self._composed(list(lines), initial_job_idx + n) for n, lines in enumerate(job_overrides)]
        once: dict[str, PlannedJob] = {}
        jobs = [once.setdefault(job_hash(config), planned(config)) for config in configs]
        different = list(once.values())
        note_order([job.folder for job in different])
        Dispatch(different, self._slots(different), self._failed, self.log_lines).run()
        return [_returned(job, config) for job, config in zip(jobs, configs, strict=True)]

    def _composed(self, lines: list[str], number: int) -> DictConfig:
        config: DictConfig = self.hydra_context.config_loader.load_sweep_config(self.config, lines)
        OmegaConf.set_struct(config, False)
        config.hydra.job.id = str(number)
        config.hydra.job.num = number
        return config

    def _slots(self, jobs: Sequence["PlannedJob"]) -> "Slots":
        from deepseek_lab.processor import usable_cores
        from deepseek_lab.sweep.slots import Slots, visible_gpus

        gpus = visible_gpus() if any(job.needs.gpu for job in jobs) else []
        return Slots([job.needs for job in jobs], gpus, usable_cores(), self.jobs_at_once)

    def _failed(self, job: "PlannedJob", code: int) -> None:
        self.task_function.outcome.failed(job.name, code)


def planned(config: DictConfig) -> "PlannedJob":
    """A composed job as the dispatch takes it: the script again, with the job's overrides, for one run."""
    from deepseek_lab.advice import quoted
    from deepseek_lab.command_line.entry import read_arguments, run_flags
    from deepseek_lab.command_line.naming import sweep_folder
    from deepseek_lab.sweep.job_process import PlannedJob

    arguments = read_arguments(sys.argv[1:])
    arguments.multirun = False
    kept = [line for line in config.hydra.overrides.hydra if str(line).split("=")[0] not in _SET_HERE]
    folder = sweep_folder(config)
    lines = [*kept, *config.hydra.overrides.task, "hydra.mode=RUN", f"hydra.run.dir={quoted(folder)}"]
    return PlannedJob(
        folder=folder,
        command=[sys.executable, str(Path(sys.argv[0]).absolute()), *run_flags(arguments), *map(str, lines)],
        needs=needs(config),
        max_steps=OmegaConf.select(config, "trainer.max_steps"),
    )


def needs(config: DictConfig) -> "Needs":
    """What a job asks of the machine, read from its trainer."""
    from deepseek_lab.sweep.slots import Needs

    trainer = config.get("trainer") or {}
    devices, accelerator = trainer.get("devices", 1), trainer.get("accelerator", "cpu")
    return Needs(
        devices=devices if isinstance(devices, int) else len(devices),
        gpu=accelerator != "cpu",
        n_threads=trainer.get("n_threads"),
    )


def _returned(job: "PlannedJob", config: DictConfig) -> JobReturn:
    lines = [str(line) for line in config.hydra.overrides.task]
    made = JobReturn(overrides=lines, cfg=None, hydra_cfg=config, working_dir=str(job.folder))
    made.return_value = job.result()
    made.status = JobStatus.COMPLETED
    return made
