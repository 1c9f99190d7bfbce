"""The question that a sweep asks: its words, its baseline and the metrics that decide it.

They stand in the `ablation` node of each run's stored config. Sweeps without one compare bits per byte with their
first variant. Runs of several sweeps that ask different questions have none in common.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import ListConfig

from deepseek_lab.config import ConfigError
from deepseek_lab.metrics import describe
from deepseek_lab.report.run_files import yaml_at

DECIDING = ("val/bits_per_byte",)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked; `baseline` names a variant as a person types it, None the first one."""

    text: str | None
    baseline: str | None
    metrics: tuple[str, ...]


def read_question(folders: Sequence[Path]) -> Question:
    """The one question of all run folders that ask any."""
    asked = {_one(yaml_at(folder / ".hydra" / "config.yaml", "ablation")) for folder in folders}
    asked.discard(None)
    only = asked.pop() if len(asked) == 1 else None
    return only or Question(text=None, baseline=None, metrics=DECIDING)


def _one(node: Any) -> Question | None:
    """The question of one stored config; nothing for a node that is no mapping or holds other things."""
    if not isinstance(node, dict):
        return None
    metrics = node.get("metrics")
    return Question(
        text=str(node["question"]) if node.get("question") else None,
        baseline=_typed(node.get("baseline")),
        metrics=tuple(map(str, metrics)) if isinstance(metrics, list) and metrics else DECIDING,
    )


def _typed(baseline: Any) -> str | None:
    """`attention=mha seed=1` for a text, a list of overrides or a mapping of them."""
    if isinstance(baseline, dict):
        return " ".join(f"{key}={value}" for key, value in baseline.items()) or None
    if isinstance(baseline, list):
        return " ".join(map(str, baseline)) or None
    return None if baseline is None else str(baseline)


def known_metrics(names: Any) -> tuple[str, ...]:
    """The curves named by `metrics=` on a command line. Raises ConfigError with the nearest right name."""
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, (ListConfig, list, tuple)):
        raise ConfigError(f"must name curves, one or several ([val/bits_per_byte]), not {names!r}", "metrics")
    for name in listed:
        try:
            describe(str(name))
        except KeyError as error:
            raise ConfigError(str(error.args[0]), "metrics:") from None
    return tuple(map(str, listed))
