"""`run_survey`: one function over all jobs of a command line, none of which is started.

The jobs are expanded as a run expands them, with Hydra's own parser, but never through Hydra's main, which would
launch an `ablation=`. Only what Hydra itself answers (`--help`, `--cfg`) goes there.
"""

import sys
from argparse import Namespace
from pathlib import Path

import hydra
from omegaconf import DictConfig

from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.entry import answered, read_arguments, warn_unread
from deepseek_lab.command_line.jobs import Job, imported, is_sweep, survey
from deepseek_lab.command_line.naming import PROJECT_ROOT
from deepseek_lab.command_line.typed_paths import usable_overrides


def run_survey(
    config_name: str, function_path: str, sheet_reads: str | None = None, config_dir: Path = PROJECT_ROOT / "conf"
) -> int:
    """Runs a script that looks at jobs and starts none; returns its exit code.

    function_path: `package.module:name` of a function of a list of Job and RefusedJob that returns an exit code;
        imported when what the jobs share is known to be right
    config_name, sheet_reads: as for `run_command`
    """
    return answered(lambda: _survey(config_name, function_path, sheet_reads, config_dir), stdout_is_the_result=True)


def _survey(config_name: str, function_path: str, sheet_reads: str | None, config_dir: Path) -> int:
    args = read_arguments(sys.argv[1:])
    folder = Path(args.config_path).resolve() if args.config_path else config_dir
    with Composer(folder, args.config_name or config_name, args.config_dir) as composer:
        args.overrides = usable_overrides(composer, args.overrides, args.multirun)
        if not _asks_hydra(args):
            jobs = survey(composer, args.overrides, is_sweep(composer, args.overrides, args.multirun))
            warn_unread(composer, args.overrides, [job for job in jobs if isinstance(job, Job)], sheet_reads)
            code: int = imported(function_path)(jobs)
            return code
        composer.compose(args.overrides)
    hydra.main(config_path=str(config_dir), config_name=config_name, version_base="1.3")(_nothing)()
    return 0


def _asks_hydra(args: Namespace) -> bool:
    return bool(args.help or args.hydra_help or args.cfg or args.info or args.shell_completion)


def _nothing(config: DictConfig) -> None:
    """What Hydra's main would run; it answers a question here and runs nothing."""
