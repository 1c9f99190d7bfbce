"""What an ablation asks (`conf/ablation/*.yaml`, node `ablation`): its question, its baseline, what decides it.

A plan and a report read it from the config of any job. Left out: the axes, which are Hydra's
(`hydra.sweeper.params`), and the rule that makes the jobs fair (`match`).
"""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.metrics import describe


@dataclass(frozen=True, kw_only=True)
class Question(CheckedConfig):
    """baseline: the overrides (`attention=mha`) that make the variant which the others are compared with.

    metrics: curves of `metrics.py`, the one that decides first. Null where nobody asked.
    """

    question: str | None
    baseline: list[str] | None
    metrics: list[str] | None

    def check(self) -> None:
        for line in self.baseline or ():
            if not line.partition("=")[2]:
                raise ConfigError(f"must hold overrides like attention=mha, not '{line}'", "baseline")
        for name in self.metrics or ():
            try:
                describe(name)
            except KeyError as error:
                raise ConfigError(f"names {error.args[0]}", "metrics") from None


def read_question(config: DictConfig) -> Question:
    """The node `ablation` of a composed or stored config. Raises ConfigError; all null where there is no such node."""
    node = OmegaConf.select(config, "ablation")
    values: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else {}
    try:
        return Question(**{name: values.get(name) for name in ("question", "baseline", "metrics")})
    except ConfigError as error:
        raise error.at("ablation") from None


def baseline_of(config: DictConfig) -> list[str]:
    """The overrides of the baseline; empty where no ablation names one."""
    return read_question(config).baseline or []
