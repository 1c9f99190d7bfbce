"""Hydra's basic sweeper, with the width that makes each job fair among its overrides (`match=`).

Whatever launcher runs the jobs then sees a plain number. Hydra finds plugins only in the namespace package
`hydra_plugins` and imports all of them at every start, so nothing heavy is imported here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf


@dataclass
class MatchingBasicSweeperConf:
    """`hydra/sweeper=matching`: the fields of Hydra's own."""

    _target_: str = "hydra_plugins.deepseek_lab.sweeper.MatchingBasicSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = field(default=None)


ConfigStore.instance().store(group="hydra/sweeper", name="matching", node=MatchingBasicSweeperConf, provider="main")


class MatchingBasicSweeper(BasicSweeper):
    """The product of all axes, each job with what `sweep.matching` adds to it."""

    def get_job_batch(self) -> Sequence[Sequence[str]]:
        """The next jobs, each as its overrides. Raises ConfigError for one that cannot be matched."""
        solved: dict[tuple[str, ...], dict[str, str]] = {}
        return [self._matched(list(lines), solved) for lines in super().get_job_batch()]

    def _compose(self, lines: Sequence[str]) -> DictConfig:
        context: Any = self.hydra_context
        config: DictConfig = context.config_loader.load_sweep_config(self.config, list(lines))
        return config

    def _matched(self, lines: list[str], solved: dict[tuple[str, ...], dict[str, str]]) -> list[str]:
        config = self._compose(lines)
        if OmegaConf.select(config, "match.rule") in (None, "none"):
            return lines
        from deepseek_lab.sweep.matching import matched

        return matched(config, lines, self._compose, solved)
