"""A GRPO step beside TRL's `GRPOTrainer`: the same network, weights and prompts, answers of equal length, by turns.

Eight prompts, eight answers to each of exactly 64 tokens, β = 0, one update, AdamW's fused kernel, fp32, of a small
DeepSeek-V3 and of a small Llama. A step is timed from its begin to its end: drawing, rewards, update. That both
learn the same from the same answers, `rl_agreement` says.

Left out: answers of unequal length, where the padding that we spare would add to our side.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from rich.table import Table

from deepseek_lab.benchmarking.rl_contestants import NATURAL, our_stage, prompts, their_trainer
from deepseek_lab.benchmarking.small_networks import Shape
from deepseek_lab.benchmarking.turns import OURS, THEIRS, Turns, their_turn, train_by_turns


@dataclass(frozen=True)
class Workload:
    """A network and the length of its prompts; None for questions in words."""

    shape: Shape
    n_prompt: int | None

    @property
    def questions(self) -> Sequence[str]:
        """The prompts."""
        return NATURAL if self.n_prompt is None else prompts(self.n_prompt)


_LENGTHS = {"16": 16, "128": 128, "512": 512, "_natural": None}
WORKLOADS = {f"prompt{name}": Workload("deepseek_v3", n) for name, n in _LENGTHS.items()}
WORKLOADS |= {f"llama{name}": Workload("llama", n) for name, n in _LENGTHS.items()}


def measure(name: str, rounds: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of each side's steps, and how many times as fast ours is."""
    work, turns = WORKLOADS[name], Turns(report)
    with tempfile.TemporaryDirectory() as folder:
        theirs = their_trainer(work.shape, work.questions, rounds + 1, folder, [their_turn(turns)])
        train_by_turns(our_stage(work.shape, work.questions, theirs.model), theirs, rounds + 1, turns)
    length = mean(len(question.encode()) for question in work.questions)
    return {"row": name, "mean_prompt": length, **turns.result}


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a row."""
    made = Table(title="A GRPO step: how many times as fast as TRL's")
    for column in ("row", "mean prompt", "ours s", "TRL s", "median", "lowest", "highest", "of CPU s"):
        made.add_column(column, justify="left" if column == "row" else "right", no_wrap=True)
    for result in results:
        ratios, seconds = result["ratios"], [median(result["seconds"][who]) for who in (OURS, THEIRS)]
        figures = (*seconds, median(ratios), min(ratios), max(ratios), median(result["cpu_ratios"]))
        made.add_row(result["row"], f"{result['mean_prompt']:.0f}", *(f"{figure:.2f}" for figure in figures))
    return made


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes rl.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rl.json").write_text(json.dumps(list(results), indent=1))
