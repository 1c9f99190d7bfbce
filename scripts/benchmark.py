"""Measures this project against others, side by side: `python scripts/benchmark.py training`.

Needs the `dev` extra (transformers). Figures are comparable within one run only; close other programs.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["training"], help="training: tokens/s and MFU of a DeepSeek-V3 training step")
    parser.add_argument("--rows", nargs="+", choices=["S512", "S2048", "E64"], default=["S512", "S2048", "E64"])
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each contestant (default 7)")
    parser.add_argument("--out", type=Path, default=ROOT / "logs" / "benchmark")
    return parser.parse_args(arguments)


def main() -> None:
    chosen = parse(sys.argv[1:])
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
    console.print(f"Written to {chosen.out}")


if __name__ == "__main__":
    main()
