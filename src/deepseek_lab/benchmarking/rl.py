"""A GRPO step beside TRL's `GRPOTrainer`: the same DeepSeek-V3, weights and prompts, answers of equal length, by turns.

Eight prompts, eight answers to each of exactly 64 tokens, β = 0, one update, AdamW's fused kernel, fp32. Both run their
own whole loop, ours under Lightning, theirs under transformers' Trainer, in a thread each, and take turns step by step,
so that a machine's drift falls on both. A step is timed from its begin to its end: drawing, rewards, update.

Left out: answers of unequal length, where the padding that we spare would add to our side.
"""

import json
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from rich.table import Table

from deepseek_lab.benchmarking.rl_contestants import our_stage, their_trainer

OURS, THEIRS = "ours", "TRL"
ROWS = {"prompt16": 16, "prompt128": 128, "prompt512": 512}


class Turns:
    """Two loops, one step at a time, and the seconds of each step; the first step of both is a warm-up."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.seconds: dict[str, list[float]] = {OURS: [], THEIRS: []}
        self.report = report
        self._may = {OURS: threading.Semaphore(1), THEIRS: threading.Semaphore(0)}
        self._began = 0.0

    def begin(self, who: str) -> None:
        """Waits for its turn and starts the clock."""
        self._may[who].acquire()
        self._began = time.perf_counter()

    def end(self, who: str) -> None:
        """Stops the clock and gives the turn away."""
        self.seconds[who].append(time.perf_counter() - self._began)
        if who == THEIRS:
            self.report(", ".join(f"{name} {values[-1]:.2f} s" for name, values in self.seconds.items()))
        self._may[THEIRS if who == OURS else OURS].release()


class OurTurn(Callback):
    """Lightning's side."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """An iteration begins."""
        self._turns.begin(OURS)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """It is over."""
        self._turns.end(OURS)


def _their_turn(turns: Turns) -> Any:
    from transformers import TrainerCallback

    class TheirTurn(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            turns.begin(THEIRS)

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            turns.end(THEIRS)

    return TheirTurn()


def measure(name: str, rounds: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of each side's steps, and how many times as fast ours is."""
    turns, n_prompt = Turns(report), ROWS[name]
    with tempfile.TemporaryDirectory() as folder:
        theirs = their_trainer(n_prompt, rounds + 1, folder, [_their_turn(turns)])
        stage = our_stage(n_prompt, theirs.model)
        trainer = Trainer(
            accelerator="cpu",
            max_steps=rounds + 1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[OurTurn(turns)],
        )
        other = threading.Thread(target=theirs.train, daemon=True)
        other.start()
        trainer.fit(stage)
        other.join()
    seconds = {who: values[1:] for who, values in turns.seconds.items()}
    ratios = [a / b for a, b in zip(seconds[THEIRS], seconds[OURS], strict=True)]
    return {"row": name, "threads": torch.get_num_threads(), "seconds": seconds, "ratios": ratios}


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a row."""
    made = Table(title="A GRPO step: how many times as fast as TRL's")
    for column in ("row", "ours s", "TRL s", "median", "lowest", "highest"):
        made.add_column(column, justify="left" if column == "row" else "right", no_wrap=True)
    for result in results:
        ratios, seconds = result["ratios"], [median(result["seconds"][who]) for who in (OURS, THEIRS)]
        figures = (*seconds, median(ratios), min(ratios), max(ratios))
        made.add_row(result["row"], *(f"{figure:.2f}" for figure in figures))
    return made


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes rl.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rl.json").write_text(json.dumps(list(results), indent=1))
