"""What of the lm-evaluation-harness is asked for; apart from the harness itself, which is an extra."""

from dataclasses import dataclass
from importlib.util import find_spec

from deepseek_lab.config import CheckedConfig, ConfigError


@dataclass(frozen=True, kw_only=True)
class HarnessTest(CheckedConfig):
    """tasks: names that lm-eval knows; num_fewshot null: the task's own; limit: questions of each, null for all.

    include_path: a folder of task files of one's own. batch_size: log-likelihoods read in one forward
    """

    tasks: list[str]
    num_fewshot: int | None
    limit: int | None
    include_path: str | None
    batch_size: int

    def check(self) -> None:
        self.require_positive("limit", "batch_size")
        self.require_not_negative("num_fewshot")

    def require_usable(self) -> None:
        """Raises ConfigError where nothing is asked for, or nobody is there to answer."""
        if not self.tasks:
            raise ConfigError("names the tasks to measure, such as [hellaswag]", "lm_eval.tasks")
        if find_spec("lm_eval") is None:
            raise ConfigError("=lm_eval needs the extra: pip install 'deepseek-lab[lm-eval]'", "what")
