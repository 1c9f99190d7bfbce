"""What becomes of the jobs of one command: a line for each that fails, and one exit code for all.

Hydra's launchers get a function that never raises, so that one failing job of a sweep does not stop the others.
"""

import os
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from deepseek_lab.command_line.composition import one_line
from deepseek_lab.command_line.errors import describe
from deepseek_lab.command_line.jobs import imported
from deepseek_lab.command_line.naming import register_resolvers
from deepseek_lab.command_line.ranks import started
from deepseek_lab.command_line.run_lock import written


def say(line: str, kind: str = "error") -> None:
    """One line on stderr, which names the rank where several speak."""
    rank = started().rank
    print(f"{kind}: {f'rank {rank}: ' if rank else ''}{line}", file=sys.stderr, flush=True)


@dataclass
class Outcome:
    """What became of the jobs: a line for each that failed, and the exit code of a single one."""

    n_jobs: int
    failures: list[str] = field(default_factory=list)
    code: int = 0

    def record(self, error: Exception, name: str) -> None:
        """Says at once what went wrong; a fault of the program with its traceback.

        What stops every rank alike is said by rank 0 alone.
        """
        described = describe(error)
        if described is None:
            traceback.print_exception(error)
        line, code = described or (one_line(f"{type(error).__name__}: {error}"), 1)
        if not (started().rank and getattr(error, "on_every_rank", False)):
            say(f"{name}: {line}" if self.n_jobs > 1 else line)
        self.failed(name, code)

    def failed(self, name: str, code: int) -> None:
        """Notes a job that failed, of which all has been said."""
        self.failures.append(name)
        self.code = code

    def close(self) -> int:
        """The exit code, after one line that names the failed jobs of a sweep."""
        if self.n_jobs == 1 or not self.failures:
            return self.code
        say(f"{len(self.failures)} of {self.n_jobs} jobs failed: {', '.join(self.failures)}")
        return 1


class GuardedJob:
    """The function of a script as Hydra's launchers call it: imported when the first job starts, never raising.

    In another process, where SLURM runs it, the outcome is a copy that nobody reads: there it does raise.
    """

    def __init__(self, function_path: str, outcome: Outcome) -> None:
        self.function_path = function_path
        self.outcome = outcome
        self.process = os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Taken out of a pickle, before Hydra composes the job in that process."""
        self.__dict__.update(state)
        register_resolvers()

    def __call__(self, config: DictConfig) -> Any:
        """What the function returns; None when it failed."""
        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        if self.outcome.n_jobs > 1:
            print(f"job {hydra.job.num + 1} of {self.outcome.n_jobs}: {folder.name}", flush=True)
        try:
            return self._alone(config, folder) if hydra.output_subdir else imported(self.function_path)(config)
        except Exception as error:
            if os.getpid() != self.process:
                raise
            self.outcome.record(error, folder.name)
            return None

    def _alone(self, config: DictConfig, folder: Path) -> Any:
        with written(folder):
            return imported(self.function_path)(config)
