"""The jobs of one command line, composed and checked before the first of them starts.

A sweep comes from `-m` or from an `ablation/*.yaml` (`hydra.mode: MULTIRUN` and
`hydra.sweeper.params`); a value typed for one of the file's axes replaces that axis. Only Hydra's
basic sweeper is expanded, in its plain form and in the one that matches sizes: another sweeper chooses its
jobs as it goes, so nothing can be checked beforehand but the config its jobs share.
"""

import importlib
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deepseek_lab.advice import override as as_text
from deepseek_lab.advice import typed
from deepseek_lab.command_line.composition import Composer, one_line
from deepseek_lab.command_line.naming import sweep_name
from deepseek_lab.command_line.stale import RULES, check_rule
from deepseek_lab.command_line.typed_paths import require_read_paths
from deepseek_lab.config import ConfigError

LARGEST_SEED = 2**32
"""numpy's generators take seeds below it."""

MATCHED = "deepseek_lab.sweep.matching:matched"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job: what was typed or solved for it, what tells it from its siblings, and its composed config."""

    overrides: tuple[str, ...]
    words: str
    config: DictConfig


@dataclass(frozen=True, kw_only=True)
class RefusedJob:
    """A job of a sweep that cannot be composed, or not be matched, and why."""

    overrides: tuple[str, ...]
    words: str
    reason: ConfigError


def is_sweep(composer: Composer, overrides: Sequence[str], multirun: bool) -> bool:
    """Whether the command line, or a config file it names, asks for several jobs."""
    mode = composer.compose(overrides, RunMode.MULTIRUN).hydra.mode
    return multirun or mode == RunMode.MULTIRUN


def expand(composer: Composer, overrides: Sequence[str], sweep: bool) -> list[Job]:
    """All jobs of a command line in the order in which they will run. Raises ConfigError for the first that cannot."""
    jobs = survey(composer, overrides, sweep)
    for index, job in enumerate(jobs):
        if isinstance(job, RefusedJob):
            with _named(index, len(jobs), job.words):
                raise job.reason
    return [job for job in jobs if isinstance(job, Job)]


def survey(composer: Composer, overrides: Sequence[str], sweep: bool) -> list[Job | RefusedJob]:
    """All jobs of a command line, those that cannot run included. Raises ConfigError for what all jobs share."""
    if not sweep:
        return [_job(composer, [], list(overrides), "", {})]
    shared = composer.compose(overrides, RunMode.MULTIRUN)
    if not str(shared.hydra.sweeper._target_).endswith("BasicSweeper"):
        return [Job(overrides=tuple(overrides), words="", config=shared)]
    hydra_overrides = [str(line) for line in shared.hydra.overrides.hydra]
    axes = [f"{key}={value}" for key, value in (shared.hydra.sweeper.params or {}).items()]
    lines = [*axes, *(str(line) for line in shared.hydra.overrides.task)]
    batches = BasicSweeper.split_arguments(composer.parse(lines), max_batch_size=None)
    return _composed(composer, [list(job) for job in batches[0]], hydra_overrides)


def _composed(composer: Composer, job_lines: list[list[str]], hydra_overrides: list[str]) -> list[Job | RefusedJob]:
    fixed = set.intersection(*(set(lines) for lines in job_lines)) if len(job_lines) > 1 else set()
    words = [" ".join(line for line in lines if line not in fixed) for lines in job_lines]
    solved: dict[tuple[str, ...], dict[str, str]] = {}
    return [_job(composer, hydra_overrides, *job, solved) for job in zip(job_lines, words, strict=True)]


def _job(
    composer: Composer,
    hydra_overrides: list[str],
    lines: list[str],
    words: str,
    solved: dict[tuple[str, ...], dict[str, str]],
) -> Job | RefusedJob:
    """One job; `solved` is what matching found for its siblings."""

    def compose(lines: Sequence[str]) -> DictConfig:
        return composer.compose([*hydra_overrides, *lines])

    try:
        config = compose(lines)
        if OmegaConf.select(config, "match.rule") not in (None, "none"):
            check_values(config)
            lines = imported(MATCHED)(config, lines, compose, solved)
            config = compose(lines)
    except ConfigError as error:
        return RefusedJob(overrides=tuple(lines), words=words, reason=error)
    return Job(overrides=tuple(lines), words=words, config=config)


@contextmanager
def _named(index: int, count: int, words: str) -> Iterator[None]:
    """Puts `job 3 of 8 (attention=mla seed=2):` in front of a ConfigError raised inside."""
    try:
        yield
    except ConfigError as error:
        if count == 1:
            raise
        raise ConfigError(f"job {index + 1} of {count} ({words}): {error}") from error


@contextmanager
def _texts_quoted(job: Job) -> Iterator[None]:
    """Adds to the refusal of a value how it is typed as the text that may have been meant: `prompt=42`, `${HOME}`."""
    try:
        yield
    except ConfigError as error:
        lines = (line.partition("=") for line in reversed(job.overrides))
        value = next((value for key, _, value in lines if key == error.field), "")
        elsewhere = "${" in value and isinstance(error.__cause__, OmegaConfBaseException)
        if not (value and (elsewhere or error.problem.startswith("must be a string"))):
            raise
        nowhere = f"names what is not in the config: {value} (${{oc.env:NAME}} reads the environment)"
        problem = nowhere if error.problem.startswith("needs ") else error.problem
        text = typed([as_text(error.field, value)])
        raise ConfigError(f"{problem}; a text is quoted: {text}", error.field) from error


def imported(path: str) -> Any:
    """The object that `package.module:name` names; its module is imported now."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def check_jobs(jobs: Sequence[Job], check_path: str | None, sweep: bool = False) -> None:
    """Refuses the first job that cannot run, by its name. Raises ConfigError or what the check raises.

    Values that are missing or point nowhere are found for every job before the check, whose module
    may have to import torch, is imported for any.
    """
    for index, job in enumerate(jobs):
        with _named(index, len(jobs), job.words):
            with _texts_quoted(job):
                check_values(job.config)
            require_read_paths(task_config(job.config))
            if sweep:
                check_launcher(job.config)
    if check_path is None:
        return
    check = imported(check_path)
    for index, job in enumerate(jobs):
        with _named(index, len(jobs), job.words), _texts_quoted(job):
            check(task_config(job.config))


def task_config(config: DictConfig) -> DictConfig:
    """A copy of a composed config without Hydra's own node, as the script's function gets it."""
    task = config.copy()
    OmegaConf.set_struct(task, False)
    task.pop("hydra", None)
    OmegaConf.set_struct(task, True)
    return task


def check_values(config: DictConfig) -> None:
    """Refuses missing values (`???`), interpolations that lead nowhere, and numbers that are none or too large."""
    task = task_config(config)
    try:
        for key in sorted(OmegaConf.missing_keys(task)):
            raise ConfigError(f"has no value; give one: {key}=…", key)
        OmegaConf.resolve(task)
    except OmegaConfBaseException as error:
        raise ConfigError(_leads_nowhere(error), getattr(error, "full_key", None) or "") from error
    _check_numbers(OmegaConf.to_container(task))
    sweep = OmegaConf.select(task, "sweep")
    if sweep is not None and sweep_name(sweep) != str(sweep):
        raise ConfigError(f"names a folder: letters, digits and . _ - + only, not {str(sweep)!r}", "sweep")
    n_threads = task.get("n_threads")
    if n_threads is not None and (isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1):
        raise ConfigError(f"must be null or an integer of at least 1, not {n_threads!r}", "n_threads")
    for key in ("init_from", "checkpoint"):
        if not isinstance(task.get(key), (str, type(None))):
            raise ConfigError(f"must be a string or null, not {task[key]!r}", key)
    check_rule(task.get("sweep_stale", RULES[0]))
    if not isinstance(task.get("sweep_report", True), bool):
        raise ConfigError(f"must be true or false, not {task.sweep_report!r}", "sweep_report")


def _check_numbers(value: Any, path: str = "") -> None:
    """Every number is finite, and a seed one that all random generators take."""
    if isinstance(value, dict):
        for key, each in value.items():
            _check_numbers(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for each in value:
            _check_numbers(each, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"must be a finite number, not {value}", path)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ConfigError(f"is larger than any number here can be (2**63): {str(value)[:20]}…", path)
    elif path.rpartition(".")[2] in ("seed", "seeds") and isinstance(value, int) and value >= LARGEST_SEED:
        raise ConfigError(f"must be below 2**32, not {value}: no generator takes more", path)


def _leads_nowhere(error: OmegaConfBaseException) -> str:
    """What is wrong with an interpolation; one into a group of which nothing is chosen names the group."""
    missing = re.search(r"Interpolation key '(\w+)' not found", str(error))
    if missing:
        return f"needs {missing[1]}=…, of which nothing is chosen"
    return one_line(error).split(" full_key:")[0]


def check_launcher(config: DictConfig) -> None:
    """Refuses a launcher that cannot run here, and a job on several devices that it gives no processes of their own.

    Lightning starts the other ranks with the command line of the process that it runs in: that of the whole sweep.
    """
    launcher = config.hydra.launcher
    at_once = launcher.get("jobs_at_once")
    if at_once is not None and (isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1):
        problem = f"must be a whole number of at least 1, or null, not {at_once!r}"
        raise ConfigError(problem, "hydra.launcher.jobs_at_once")
    chosen = f"hydra/launcher={config.hydra.runtime.choices.get('hydra/launcher')}"
    if str(launcher._target_).endswith(".SlurmLauncher") and not shutil.which("srun"):
        raise ConfigError("finds no srun here; hydra/launcher=slurm_local tries the same on this machine", chosen)
    devices = OmegaConf.select(config, "trainer.devices")
    several = len(devices) > 1 if OmegaConf.is_list(devices) else isinstance(devices, int) and devices not in (0, 1)
    if several and not str(launcher._target_).startswith("hydra_plugins.deepseek_lab."):
        problem = f"= {devices}, but with {chosen} each would start the whole sweep again; use hydra/launcher=process"
        raise ConfigError(problem, "trainer.devices")
