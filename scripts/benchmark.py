"""Measures this project: `python scripts/benchmark.py training`, `decoding`, `attention` and so on.

training, decoding: beside transformers (needs the `dev` extra). attention: MLA decoding absorbed, expanded and with
all keys and values kept, by rows x context. engine: what drafts, equal bits in any company and a compiled step gain or
cost on a run of your own (--checkpoint). recompute: what recomputing activations saves and costs. precision: what
emulating FP8 and bf16 costs. sweep: two jobs at once against one after the other.
Figures are comparable within one run only; close other programs.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROWS = {
    "training": ["S512", "S2048", "E64"],
    "decoding": ["B1", "B8", "B64", "B8C2048", "G8"],
    "attention": [f"{batch}x{context}" for batch in (1, 8) for context in (256, 512, 1024, 2048, 4096, 8192)],
    "engine": ["greedy1", "greedy8", "sampled1", "sampled8"],
    "recompute": ["mini_v3", "wide"],
    "precision": ["linear512", "linear2048", "linear4096", "step128", "step256", "step512", "step1024"],
    "sweep": ["nano", "micro"],
}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", choices=list(ROWS), help="a DeepSeek-V3 training step, its activations, its number format, or a sweep"
    )
    parser.add_argument("--rows", nargs="+", help="; ".join(f"of {what}: {rows}" for what, rows in ROWS.items()))
    parser.add_argument("--rounds", type=int, default=7, help="timed steps, or sweeps, of each contestant (default 7)")
    parser.add_argument("--batch", type=int, default=4, help="recompute: rows of 512 tokens a step (default 4)")
    parser.add_argument("--compiled", action="store_true", help="decoding, engine: also steps through torch.compile")
    parser.add_argument("--checkpoint", help="engine: a run folder")
    parser.add_argument("--out", type=Path, default=ROOT / "logs" / "benchmark")
    chosen = parser.parse_args(arguments)
    chosen.rows = chosen.rows or ROWS[chosen.what]
    for row in chosen.rows:
        if row not in ROWS[chosen.what]:
            parser.error(f"--rows: {row} is none of {', '.join(ROWS[chosen.what])}")
    if chosen.what == "engine" and not chosen.checkpoint:
        parser.error("engine: --checkpoint names a run folder")
    return chosen


def train(chosen: argparse.Namespace) -> None:
    from rich.console import Console

    from deepseek_lab.benchmarking import training

    console = Console()
    conditions = training.environment()
    console.print(conditions)
    results = []
    for name in chosen.rows:
        console.print(f"[bold]{name}[/bold]")
        results.append(training.measure(training.WORKLOADS[name], chosen.rounds, console.print))
        training.save(results, conditions, chosen.out)
    console.print(training.table(results))


def recompute(chosen: argparse.Namespace) -> None:
    from deepseek_lab.benchmarking import recompute

    measure_rows(chosen, recompute, lambda name, say: recompute.measure(name, chosen.batch, chosen.rounds, say))


def precision(chosen: argparse.Namespace) -> None:
    from deepseek_lab.benchmarking import precision
    from deepseek_lab.experiment.freed_memory import keep_freed_memory

    keep_freed_memory()
    recipes = precision.shipped_recipes()
    measure_rows(chosen, precision, lambda name, say: precision.measure(name, recipes, chosen.rounds, say))


def sweep(chosen: argparse.Namespace) -> None:
    from deepseek_lab.benchmarking import sweep

    measure_rows(chosen, sweep, lambda name, say: sweep.measure(name, chosen.rounds, say))


def decoding(chosen: argparse.Namespace) -> None:
    from deepseek_lab.benchmarking import decoding

    measure_rows(chosen, decoding, lambda name, say: decoding.measure(name, chosen.rounds, say, chosen.compiled))


def attention(chosen: argparse.Namespace) -> None:
    from deepseek_lab.benchmarking import attention_step

    measure_rows(chosen, attention_step, lambda name, say: attention_step.measure(name, chosen.rounds, say))


def engine(chosen: argparse.Namespace) -> None:
    from deepseek_lab.benchmarking import engine_modes

    def measure(name: str, say: Callable[[str], None]) -> Any:
        return engine_modes.measure(name, chosen.checkpoint, chosen.rounds, say, chosen.compiled)

    measure_rows(chosen, engine_modes, measure)


def measure_rows(
    chosen: argparse.Namespace, benchmark: Any, measure: Callable[[str, Callable[[str], None]], Any]
) -> None:
    """Row by row, each saved when it is there; then the table of all. `benchmark` is the module that knows both."""
    from rich.console import Console

    console = Console()
    results: list[Any] = []
    for name in chosen.rows:
        results.append(measure(name, console.print))
        benchmark.save(results, chosen.out)
    console.print(benchmark.table(results))


BENCHMARKS = {
    "training": train,
    "decoding": decoding,
    "attention": attention,
    "engine": engine,
    "recompute": recompute,
    "precision": precision,
    "sweep": sweep,
}


def main() -> None:
    chosen = parse(sys.argv[1:])
    BENCHMARKS[chosen.what](chosen)
    print(f"Written to {chosen.out}")


if __name__ == "__main__":
    main()
