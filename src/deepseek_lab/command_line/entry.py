"""`run_command`: what a script in scripts/ calls, and the only place where the program ends.

The order is: read the command line, find the run to resume, compose every job, check every job,
claim a folder, and only then let Hydra run the function, which never raises (outcome).
"""

import contextlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deepseek_lab.advice import quoted
from deepseek_lab.command_line.composition import Composer, one_line, shell_key
from deepseek_lab.command_line.errors import describe
from deepseek_lab.command_line.jobs import Job, check_jobs, expand, imported, is_sweep, task_config
from deepseek_lab.command_line.lifeline import in_a_sweep, watch
from deepseek_lab.command_line.naming import PROJECT_ROOT, claim_folder, job_hash, register_resolvers, sweep_folder
from deepseek_lab.command_line.outcome import GuardedJob, Outcome, say
from deepseek_lab.command_line.ranks import planned_once, started
from deepseek_lab.command_line.resume import merged, require_same_run_in, resumed_overrides
from deepseek_lab.command_line.run_lock import hold
from deepseek_lab.command_line.shared_store import share_store
from deepseek_lab.command_line.slurm import folder_of_this_job, note_job, requeued_in_time
from deepseek_lab.command_line.stale import treat_stale
from deepseek_lab.command_line.terminal import lasting_terminal, plain_warnings
from deepseek_lab.command_line.typed_paths import usable_overrides
from deepseek_lab.command_line.unread import unread_sheet_keys
from deepseek_lab.command_line.waiting import wait_asleep_if_busy
from deepseek_lab.config import ConfigError, nearest
from deepseek_lab.disk import naming

INTERRUPTED = 130
_ASK_HYDRA = frozenset({"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"})


def read_arguments(argv: list[str]) -> Namespace:
    """Hydra's flags and the overrides, which may stand in any order. Raises ConfigError for an unknown flag."""
    parser = get_args_parser()
    parser.error = _refused  # type: ignore[method-assign]
    args, rest = parser.parse_known_args(argv)
    for argument in rest:
        if argument.startswith("-"):
            flags = [flag for action in parser._actions for flag in action.option_strings]
            raise ConfigError(f"is no option{nearest(argument, flags)}", argument)
    args.overrides = [_one_text(line) for line in (*args.overrides, *rest)]
    return args


def _refused(message: str) -> NoReturn:
    """In the place of argparse's own answer, a page of usage: `argument --cfg/-c: invalid choice …` as one line."""
    argument, _, problem = message.removeprefix("argument ").partition(": ")
    raise ConfigError(problem or message, argument if problem else "")


def _one_text(line: str) -> str:
    """An override whose value has several lines, quoted: Hydra's grammar reads those as a text, and only quoted."""
    key, _, value = line.partition("=")
    several = "\n" in value or "\r" in value
    return f"{key}={quoted(value)}" if several and value.lstrip()[:1] not in tuple("'\"[{") else line


def run_flags(args: Namespace) -> list[str]:
    """The flags of a command that runs something, as they are typed."""
    valued = {"--config-path": args.config_path, "--config-name": args.config_name, "--config-dir": args.config_dir}
    flags = [word for flag, value in valued.items() if value is not None for word in (flag, value)]
    return [*flags, "--multirun"] if args.multirun else flags


@contextlib.contextmanager
def command_line_of(arguments: list[str]) -> Iterator[None]:
    """`sys.argv` as if `arguments` had been typed: Hydra reads it, and so do the ranks that Lightning starts."""
    typed = sys.argv
    sys.argv = [typed[0], *arguments]
    try:
        yield
    finally:
        sys.argv = typed


def claimed_folder(job: Job, sweep: bool) -> list[str]:
    """The override that gives a run, or a sweep without a name, a folder of its own; made now.

    A config without `hydra.output_subdir` stores nothing and gets no folder. A named sweep takes
    the folder it has, so that the same command goes on with it. A run's folder is locked before
    Hydra writes the first file into it; a job of a sweep locks its own when it starts. A requeued job of
    SLURM takes the folder that it had.
    """
    words = [str(line) for line in job.config.hydra.overrides.task]
    if job.config.hydra.output_subdir is None:
        return []
    node = "sweep" if sweep else "run"
    named = sweep and OmegaConf.select(job.config, "sweep") is not None
    typed = any(str(line).startswith(f"hydra.{node}.dir=") for line in job.config.hydra.overrides.hydra)
    folder = Path(str(job.config.hydra[node].dir)).absolute()
    if "${" in str(folder):
        raise ConfigError(
            f"= {folder}: no run lies in a folder with ${{ in its name, which Hydra reads", f"hydra.{node}.dir"
        )
    if not (named or typed):
        folder = folder_of_this_job(folder, words) or claim_folder(folder)
        note_job(folder, words)
    if not sweep:
        hold(folder)
    return [] if named or typed else [f"hydra.{node}.dir={quoted(folder)}"]


def warn_unread(composer: Composer, overrides: list[str], jobs: list[Job], reads_path: str | None) -> None:
    """One line for each typed key of the shape sheet that no job's network reads."""
    typed = [shell_key(override) for override in composer.parse(overrides)]
    if started().rank or not any(key.startswith("model.") for key in typed):
        return
    reads = imported(reads_path) if reads_path else ()
    for key in unread_sheet_keys(typed, [job.config for job in jobs], reads):
        say(f"{key} changes nothing here: none of the chosen parts reads it", "warning")


def require_own_folders(composer: Composer, jobs: list[Job], sweep: bool) -> None:
    """Refuses a folder that holds another run, and one for two jobs, before Hydra writes into it."""
    of: dict[Path, str] = {}
    for job in jobs:
        typed = [str(line).partition("=")[0] for line in job.config.hydra.overrides.hydra]
        if job.config.hydra.output_subdir is None or OmegaConf.select(job.config, "resume"):
            continue
        if sweep:
            folder, key = sweep_folder(job.config), "sweep"
            if of.setdefault(folder, job_hash(job.config)) != job_hash(job.config):
                raise ConfigError(f"{folder} would be the folder of two different jobs", "hydra.sweep.subdir")
        elif "hydra.run.dir" in typed:
            folder, key = Path(str(job.config.hydra.run.dir)).absolute(), "hydra.run.dir"
        else:
            continue
        require_same_run_in(folder, with_precision(composer, job, folder).config, key)


def look_at_source(jobs: list[Job]) -> None:
    """Treats the finished jobs of a sweep that another source made, as `sweep_stale` says; one line names them."""
    config = jobs[0].config
    if OmegaConf.select(config, "sweep") is None or "sweep_stale" not in config:
        return
    if line := treat_stale([sweep_folder(job.config) for job in jobs], config.sweep_stale):
        say(line, "warning")


def with_precision(composer: Composer, job: Job, folder: Path) -> Job:
    """The job with `precision=auto` written out for this machine, or as its folder has it, where it began before."""
    if job.config.hydra.runtime.choices.get("precision") != "auto":
        return job
    had = folder / ".hydra" / "hydra.yaml"
    chosen = OmegaConf.select(OmegaConf.load(had), PRECISION_CHOICE) if had.is_file() else None
    if chosen in (None, "auto"):
        chosen = imported("deepseek_lab.experiment:automatic_precision")(task_config(job.config))
    lines = merged(composer.parse(job.overrides), composer.parse([f"precision={chosen}"]))
    return replace(job, overrides=tuple(lines), config=composer.compose(lines))


PRECISION_CHOICE = "hydra.runtime.choices.precision"


def give_caches_a_place(job: Job) -> None:
    """Where there is no home folder, libraries keep what they download in `paths.cache`, not in a folder named `~`."""
    if os.path.expanduser("~").startswith("~"):
        cache = str(OmegaConf.select(job.config, "paths.cache") or PROJECT_ROOT / ".cache")
        os.environ.setdefault("XDG_CACHE_HOME", cache)
        os.environ.setdefault("MPLCONFIGDIR", str(Path(cache) / "matplotlib"))


def planned(
    args: Namespace, config_name: str, config_dir: Path, check_path: str | None, reads: str | None
) -> list[Job]:
    """All jobs of the command line, checked; `args.overrides` is rewritten to what Hydra shall run."""
    folder = Path(args.config_path).resolve() if args.config_path else config_dir
    with Composer(folder, args.config_name or config_name, args.config_dir) as composer:
        args.overrides = usable_overrides(composer, args.overrides, args.multirun)
        if args.cfg or args.help:
            if args.overrides:  # what nobody typed cannot be wrong
                composer.compose(args.overrides)
            return []
        resumed = resumed_overrides(composer, args.overrides)
        if resumed is not None:
            args.overrides, args.multirun = resumed, False
        sweep = is_sweep(composer, args.overrides, args.multirun)
        if sweep and (started().together or in_a_sweep()):
            by = "a sweep's job" if in_a_sweep() else started().by
            raise ConfigError(f"starts its own processes; type it once, without {by}", "a sweep")
        jobs = expand(composer, args.overrides, sweep)
        give_caches_a_place(jobs[0])
        typed = jobs[0]  # a folder is named after what was typed
        if not sweep:
            check_jobs(jobs, None)
            jobs = [with_precision(composer, typed, Path(str(typed.config.hydra.run.dir)))]
        wait_asleep_if_busy()
        check_jobs(jobs, check_path, sweep)
        warn_unread(composer, args.overrides, jobs, reads)
        require_own_folders(composer, jobs, sweep)
        if sweep:
            look_at_source(jobs)
        own = args.overrides if sweep else jobs[0].overrides  # the sweeper finds the widths of each job again
        args.overrides = [*own, *claimed_folder(typed, sweep)]
        return jobs


def _run(config_name: str, function_path: str, check: str | None, reads: str | None, config_dir: Path) -> int:
    args = read_arguments(sys.argv[1:])
    jobs: list[Job] = []
    arguments = sys.argv[1:]
    plan = partial(planned, args, config_name, config_dir, check, reads)
    if args.cfg or args.help:
        typed = {*args.overrides}
        plan()  # overrides stand behind the flags: Hydra's parser takes them from one place only
        arguments = [*(word for word in arguments if word not in typed), *args.overrides]
    elif not (args.info or args.shell_completion or args.hydra_help):
        jobs = planned_once(args, plan)
        arguments = [*run_flags(args), *args.overrides]
    outcome = Outcome(n_jobs=max(len(jobs), 1))
    with command_line_of(arguments), requeued_in_time():
        decorate = hydra.main(config_path=str(config_dir), config_name=config_name, version_base="1.3")
        with naming("the run's folder .hydra"), _hydras_own_node(jobs):
            decorate(GuardedJob(function_path, outcome))()
    return outcome.close()


@contextlib.contextmanager
def _hydras_own_node(jobs: list[Job]) -> Iterator[None]:
    """What Hydra itself fails at, as one line where something was typed for its node; a job's errors stay in it."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, KeyError, HydraException, OmegaConfBaseException) as error:
        typed = [line for job in jobs[:1] for line in map(str, job.config.hydra.overrides.hydra)]
        if not typed or isinstance(error, ConfigError):
            raise
        raise ConfigError(f"is nothing that Hydra can use: {one_line(error)}", " ".join(typed)) from error


def run_command(
    config_name: str,
    function_path: str,
    check: str | None = None,
    sheet_reads: str | None = None,
    config_dir: Path = PROJECT_ROOT / "conf",
    stdout_is_the_result: bool = False,
) -> int:
    """Runs one script from its command line and returns its exit code.

    config_name: the file in conf/, without `.yaml`
    function_path: `package.module:name` of a function of one DictConfig; imported when a job starts
    check: the same for a function that raises ConfigError for a config that cannot run; called for
        every job before the first starts
    sheet_reads: the same for a collection of the shape sheet's keys that the network reads itself,
        whatever leaves are chosen
    stdout_is_the_result: see command_line/terminal
    Errors that a person can cause are one line on stderr; others keep their traceback.
    """
    result = stdout_is_the_result or not _ASK_HYDRA.isdisjoint(sys.argv)
    return answered(lambda: _run(config_name, function_path, check, sheet_reads, config_dir), result)


def answered(command: Callable[[], int], stdout_is_the_result: bool = False) -> int:
    """The exit code of a command; an error that a person can cause is one line, others keep their traceback.

    stdout_is_the_result: where it could not be written the command has failed; elsewhere a line says so
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    watch()
    register_resolvers()
    share_store()
    with lasting_terminal(stdout_is_the_result) as terminal, plain_warnings():
        code = _answered(command)
        if lost := terminal.lost_output():
            say(lost, "error" if stdout_is_the_result else "warning")
            return code or int(stdout_is_the_result)
        return code


def _answered(command: Callable[[], int]) -> int:
    try:
        return command()
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as stop:
        # Lightning turns Ctrl-C into sys.exit(1) once its callbacks have saved.
        if isinstance(stop.__context__, KeyboardInterrupt):
            return INTERRUPTED
        if stop.code in (None, 0):  # Hydra's own answers
            return 0
        raise
    except Exception as error:
        described = describe(error)
        if described is None:
            raise
        say(described[0])
        return described[1]
