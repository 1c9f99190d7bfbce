"""A step of supervised fine-tuning beside TRL's `SFTTrainer`: same network, weights and examples, by turns.

What counts is tokens that are learnt a second; what is filled up counts for nobody. The gradients that both
optimisers got in their first step, which is not timed, are compared.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from deepseek_lab.benchmarking.published_weights import as_ours, largest_difference
from deepseek_lab.benchmarking.sft_contestants import Kind, our_data, our_stage, their_trainer
from deepseek_lab.benchmarking.small_networks import Shape
from deepseek_lab.benchmarking.turns import OURS, THEIRS, Turns, their_turn, train_by_turns

ROWS: dict[str, tuple[Shape, Kind]] = {
    "v3_packed": ("deepseek_v3", "packed"),
    "v3_masked": ("deepseek_v3", "masked"),
    "llama_packed": ("llama", "packed"),
    "llama_masked": ("llama", "masked"),
}


def measure(name: str, rounds: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of each side's steps, the tokens they learn in one, and how far apart the first gradients were."""
    (shape, kind), turns = ROWS[name], Turns(report)
    with tempfile.TemporaryDirectory() as folder:
        theirs = their_trainer(shape, kind, rounds + 1, folder, [their_turn(turns)])
        data = our_data(kind, theirs)
        stage = our_stage(shape, data, theirs.model)
        train_by_turns(stage, theirs, rounds + 1, turns)
    first = as_ours(theirs.model, turns.first_gradients[THEIRS], stage.model)
    apart = largest_difference(turns.first_gradients[OURS], first)
    return {"row": name, "supervised_tokens": data.n_supervised, "gradients_apart": apart, **turns.result}


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a row."""
    made = Table(title="Fine-tuning: learnt tokens a second, as many times TRL's")
    names = ("row", "ours tok/s", "TRL tok/s", "median", "lowest", "highest", "of CPU s", "gradients apart")
    for column in names:
        made.add_column(column, justify="left" if column == "row" else "right", no_wrap=True)
    for result in results:
        ratios = result["ratios"]
        speeds = [f"{result['supervised_tokens'] / median(result['seconds'][who]):.0f}" for who in (OURS, THEIRS)]
        figures = (median(ratios), min(ratios), max(ratios), median(result["cpu_ratios"]))
        made.add_row(result["row"], *speeds, *(f"{x:.2f}" for x in figures), f"{result['gradients_apart']:.0e}")
    return made


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes sft.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sft.json").write_text(json.dumps(list(results), indent=1))
