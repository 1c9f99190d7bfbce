"""What the ways of running the engine gain or cost: drafts, equal bits in any company, a compiled step.

Prompts are held-out text of the run's own data, so that drafts are kept as often as they are in use. Each way answers
the same requests; times include reading the prompts. A way that the run has no parts for is left out.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.table import Table

from deepseek_lab.benchmarking.interleaved import time_interleaved
from deepseek_lab.command_line import register_resolvers
from deepseek_lab.experiment.configs import read_configs
from deepseek_lab.experiment.finished import FinishedRun, find_run
from deepseek_lab.experiment.published import PublishedModel
from deepseek_lab.generation import GREEDY, Engine, Request, Sampling

PLAIN = "plain"
PROMPT, NEW = 32, 64
"""Tokens, of prompts and behind each."""


@dataclass(frozen=True)
class Row:
    """How many are answered side by side, and by which rule."""

    batch: int
    sampling: Sampling


ROWS = {
    "greedy1": Row(1, GREEDY),
    "greedy8": Row(8, GREEDY),
    "sampled1": Row(1, Sampling()),
    "sampled8": Row(8, Sampling()),
}


def ways(n_mtp: int, compiled: bool) -> dict[str, dict[str, Any]]:
    """What the engine is asked for, by the name it has in the table."""
    found: dict[str, dict[str, Any]] = {PLAIN: {}, "batch_invariant": {"batch_invariant": True}}
    found |= {f"drafts of {depth}": {"speculative_depth": depth} for depth in range(1, n_mtp + 1)}
    return found | ({"compiled": {"compile": True}} if compiled else {})


def prompts(run: FinishedRun | PublishedModel, n: int) -> list[list[int]]:
    """The beginnings of `n` held-out rows."""
    config = run.config
    config.resume = str(run.folder)
    configs = read_configs(config)
    data = configs.data.build(configs.tokenizer, configs.model.vocab_size, configs.seed)
    rows = [row for micro in data.validation_batches(n) for row in micro.tokens_BT1[:, :PROMPT].tolist()]
    if len(rows) < n:
        raise ValueError(f"{run.folder}: {len(rows)} held-out rows, {n} are needed")
    return rows[:n]


def measure(
    name: str, checkpoint: str, rounds: int, report: Callable[[str], None], compiled: bool = False
) -> dict[str, Any]:
    """Seconds of each way, how many times as fast as plain it is, and what came of its drafts."""
    register_resolvers()  # what a run's settings may hold
    row, run = ROWS[name], find_run(checkpoint)
    model = run.model(torch.device("cpu"))
    asked = [
        Request(prompt=ids, max_new_tokens=NEW, sampling=row.sampling, seed=seed)
        for seed, ids in enumerate(prompts(run, row.batch))
    ]
    engines = {who: Engine(model, **options) for who, options in ways(len(model.mtp), compiled).items()}
    steps = {who: _counted(engine, asked) for who, engine in engines.items()}

    def answer(engine: Engine) -> Callable[[Any], float]:
        return lambda _: float(sum(len(c.ids) for several in engine.run(asked) for c in several))

    contestants = {who: answer(engine) for who, engine in engines.items()}
    timings = time_interleaved(contestants, lambda _: torch.zeros(1), rounds, report)
    return {
        "row": name,
        "new": row.batch * NEW,
        "seconds": timings.seconds,
        "speed": {who: timings.ratios(PLAIN, who) for who in engines},
        "tokens_a_step": {who: NEW / n for who, n in steps.items()},
        "acceptance": {who: engine.acceptance for who, engine in engines.items()},
        **timings.machine,
    }


def _counted(engine: Engine, asked: Sequence[Request]) -> int:
    """Steps until all are answered; the first of them reads the prompts and draws, as every later one does."""
    for request in asked:
        engine.submit(request)
    n = 0
    while engine.busy:
        engine.step()
        n += 1
    return n


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a row and way; `a step` are tokens, `kept` is the share of the drafts."""
    made = Table(title="The engine's ways: tokens a second, and how many times as fast as plain")
    for column in ("row", "way", "tok/s", "times", "low", "high", "a step", "kept"):
        made.add_column(column, justify="left" if column in ("row", "way") else "right", no_wrap=True)
    for result in results:
        for who, ratios in result["speed"].items():
            spread = (f"{value:.2f}" for value in (median(ratios), min(ratios), max(ratios)))
            kept = ", ".join(f"{share:.2f}" for share in result["acceptance"][who].values())
            speed = result["new"] / median(result["seconds"][who])
            made.add_row(result["row"], who, f"{speed:,.0f}", *spread, f"{result['tokens_a_step'][who]:.2f}", kept)
    return made


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes engine.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "engine.json").write_text(json.dumps(list(results), indent=1))
