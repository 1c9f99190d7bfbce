"""What a step has cost, in FLOPs: its training, and the tokens it drew to learn from.

A training token costs what `planning.counts` says (forward and backward), once an epoch; a drawn one a forward pass, a
third of that. So does each further look at a trained token: by a reference, by the policy before several updates, by a
critic, which is then trained at the policy's cost. Attention over a shorter or longer text than `data.seq_len` is not
told apart. Left out: what a reward model reads, and of answers that are learnt from the questions in front of them.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from deepseek_lab.config import DataError
from deepseek_lab.experiment.finished import stored_config
from deepseek_lab.pipeline.planned import PlannedStep

DRAWN = "sampling/tokens"
COUNTS = "counts.json"
"""Of rejection sampling: what it kept, and the tokens it drew."""


def flops_of(step: PlannedStep) -> float:
    """Of a step that is done, its measurements apart; 0 where it neither trains nor draws to learn from."""
    if step.script == "rejection_sampling":
        return _drawing(step)
    summary = content_of(step.folder / "summary.json")
    if not summary:
        return 0.0
    return training_flops(step, float(summary["tokens"]), drawn_by(step))


def drawn_by(step: PlannedStep) -> float:
    """Tokens that a finished step drew to learn from, or for others to learn from."""
    if step.script == "rejection_sampling":
        return float(content_of(step.folder / COUNTS).get("tokens", 0.0))
    return float(content_of(step.folder / "summary.json").get("metrics", {}).get(DRAWN, 0.0))


def training_flops(step: PlannedStep, trained: float, drawn: float) -> float:
    """Of a step that trains and is done, for its first `trained` tokens and the `drawn` ones they were among."""
    per_token = float(content_of(step.folder / "summary.json")["counts"]["flops_per_token"])
    return per_token * (trained * passes(_stage_of(step.folder)) + drawn / 3)


def _stage_of(folder: Path) -> dict[str, Any]:
    """The knobs of its stage; none in a folder without a config."""
    if not (folder / ".hydra" / "config.yaml").exists():
        return {}
    stage: Any = OmegaConf.to_container(stored_config(folder).stage, resolve=False)
    loss: Any = OmegaConf.to_container(stored_config(folder).get("loss") or OmegaConf.create(), resolve=False)
    return {**stage, "kl_weight": loss.get("kl_weight", 0.0)}


def passes(stage: Mapping[str, Any]) -> float:
    """What a trained token costs in units of a forward and a backward pass of the policy, by the stage's knobs."""
    name, epochs = stage.get("name"), stage.get("epochs", 1)
    refers = stage.get("kl_weight", 0.0) > 0 or stage.get("reference_weight", 0.0) > 0
    if name == "dpo":
        return 1 + 1 / 3
    if name == "ppo":
        return float(2 * epochs + (2 + refers) / 3)
    if name == "grpo":
        return float(epochs + (refers + (stage["minibatches"] > 1)) / 3)
    return 1.0


def _drawing(step: PlannedStep) -> float:
    """Of rejection sampling from an earlier step; 0 from a checkpoint of elsewhere, whose size is not on record."""
    start = next((needed for needed in step.needs if needed.name == step.step.start), None)
    summary = content_of(start.folder / "summary.json") if start else {}
    return float(summary["counts"]["flops_per_token"]) * drawn_by(step) / 3 if summary else 0.0


def content_of(path: Path) -> dict[str, Any]:
    """A json file; empty where there is none. Raises DataError for a broken one."""
    if not path.exists():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    return content


def steps_for_equal_flops(step: PlannedStep, tokens_a_step: int, flops_per_token: float) -> int:
    """How many optimiser steps cost what the steps named by `equal_flops` have cost, one at least."""
    spent = sum(flops_of(needed) for needed in step.needs if needed.name in step.step.equal_flops)
    return max(1, math.floor(spent / (tokens_a_step * flops_per_token)))
