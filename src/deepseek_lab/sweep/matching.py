"""Gives a job of a sweep the width that makes it as large as the baseline: `match=params`.

What was solved becomes two overrides of the job, as if they had been typed: the width (`model.intermediate_size=412`)
and `match.target`. So the stored config, the hash, `resume=`, `evaluate.py` and another process all see a plain
number, and solving again from these overrides gives the same.

The baseline is the same job with the overrides of `ablation.baseline` (or `match.baseline`) on top. Its network is
composed and built on `meta` like the job's own. Left out: what a size is and how it is solved (planning/matching).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from deepseek_lab.command_line.unread import SHEET, read_sheet_keys
from deepseek_lab.config import ConfigError, nearest
from deepseek_lab.experiment.configs import SHEET_READS, read_match, read_model
from deepseek_lab.planning.counts import Counts, count
from deepseek_lab.planning.matching import WORDS, Match, Solution, size, solve
from deepseek_lab.sweep.question import baseline_of

Compose = Callable[[Sequence[str]], DictConfig]
Solved = dict[tuple[str, ...], dict[str, str]]
"""The overrides that matching adds to those of a job, its seed left out."""


def matched(config: DictConfig, lines: Sequence[str], compose: Compose, solved: Solved | None = None) -> list[str]:
    """`lines`, which compose to `config`, with the solved width and the target on top where the config matches.

    compose: the config of one job from its overrides. solved: filled with what was found, for jobs that differ in
    their seed alone. A run that is resumed keeps its width. Raises ConfigError when no width comes within
    `match.tolerance`.
    """
    rule = read_match(config)
    if rule.rule == "none" or config.get("resume"):
        return list(lines)
    same = tuple(line for line in lines if not line.startswith("seed="))
    solved = {} if solved is None else solved
    if same not in solved:
        solved[same] = _solved(config, rule, lines, compose)
    return replaced(lines, solved[same])


def _solved(config: DictConfig, rule: Match.Config, lines: Sequence[str], compose: Compose) -> dict[str, str]:
    """The overrides that are added: the target, and the width where it is another than the config's."""
    read_model(config)  # what is wrong with the job itself is said before what is wrong with its baseline
    target = rule.target if rule.target is not None else _target(config, rule, lines, compose)
    key = solved_key(config, rule)
    width = _width(config, rule, key, target)
    changed = OmegaConf.select(config, f"{SHEET}.{key}") != width
    return {"match.target": _plain(target), **({f"{SHEET}.{key}": str(width)} if changed else {})}


def replaced(lines: Sequence[str], changes: Mapping[str, str]) -> list[str]:
    """Overrides with `changes` on top: a new value for a key stands at the end, instead of the old one."""
    kept = [line for line in lines if line.partition("=")[0].lstrip("+") not in changes]
    return [*kept, *(f"{key}={value}" for key, value in changes.items())]


def solved_key(config: DictConfig, rule: Match.Config) -> str:
    """The key of the shape sheet that is solved: the first of `match.widths` that the network reads."""
    for key in rule.widths:
        if key not in config[SHEET]:
            raise ConfigError(
                f"names no key of the shape sheet: '{key}'{nearest(key, map(str, config[SHEET]))}", _WIDTHS
            )
    read = read_sheet_keys(config, SHEET_READS)
    for key in rule.widths:
        if key in read:
            return key
    raise ConfigError(f"names {', '.join(rule.widths)}, and this network reads none of them", _WIDTHS)


_WIDTHS = "match.widths"


def facts(config: DictConfig, rule: Match.Config, counts: Counts) -> dict[str, Any] | None:
    """What matching did to a job, for a plan and for `summary.json`; None where nothing is matched.

    `width` is the key that was solved, `residual` the share of the target by which `reached` misses it.
    """
    if rule.rule == "none" or rule.target is None:
        return None
    key = f"{SHEET}.{solved_key(config, rule)}"
    value = OmegaConf.select(config, key)
    solution = Solution(value, size(rule.rule, counts, read_model(config)), rule.target)
    return {
        "rule": rule.rule,
        "width": key,
        "value": value,
        "target": solution.target,
        "reached": solution.reached,
        "residual": solution.residual,
    }


def without_solved(lines: Sequence[str], match: Mapping[str, Any] | None) -> list[str]:
    """Overrides without what matching adds, so that a variant is told apart by what it is; `match` is its `facts`."""
    added = {"match.target", match["width"]} if match else set()
    return [line for line in lines if line.partition("=")[0].lstrip("+") not in added]


def _target(config: DictConfig, rule: Match.Config, lines: Sequence[str], compose: Compose) -> float:
    """The size of the baseline."""
    changes = dict(line.split("=", 1) for line in baseline_of(config) or rule.baseline)
    try:
        baseline = compose(replaced(lines, changes))
        return size_of(baseline, rule)
    except ConfigError as error:
        raise ConfigError(f"cannot be built: {error}", "the baseline of match") from error


def size_of(config: DictConfig, rule: Match.Config) -> float:
    """What `rule` compares, of the network that a config describes; built on `meta`."""
    model = read_model(config)
    with torch.device("meta"):
        counts = count(model.build(), config.data.seq_len)
    return size(rule.rule, counts, model)


def _width(config: DictConfig, rule: Match.Config, key: str, target: float) -> int:
    trial = config.copy()
    name = f"{SHEET}.{key}"

    def size_at(width: int) -> float:
        OmegaConf.update(trial, name, width)
        return size_of(trial, rule)

    start = OmegaConf.select(config, name)
    try:
        return solve(size_at, rule.multiple if start is None else start, target, rule.multiple, rule.tolerance).width
    except ConfigError as error:
        problem = f"= {rule.tolerance:g} cannot be met in {WORDS[rule.rule]}: {name} {error}"
        raise ConfigError(f"{problem}; raise it, or solve another of match.widths", "match.tolerance") from error


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)
