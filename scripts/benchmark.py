"""Measures this project: `python scripts/benchmark.py training`, `decoding`, `attention` and so on.

training, decoding, rl, sft: beside transformers and TRL (the `dev` extra) and, in training, litgpt where installed.
attention: MLA decoding absorbed, expanded and with all keys and values kept, by rows x context. engine: what drafts,
equal bits in any company and a compiled step gain or cost on a run of your own (--checkpoint). recompute: what
recomputing activations saves and costs. memory: the memory of a step by size. scaling: the speed of a step by size,
beside FLOPs and bytes. precision: what emulating FP8 and bf16 costs. experts: a mixture beside a dense FFN of equal
FLOPs. head: the chunked loss beside the plain one. trainer: a run as shipped beside a bare loop. optimizers: AdamW and
Muon beside torch's. sweep: two jobs at once against one after the other. all: each of them, with few rounds, until
--minutes are over. bars: what must hold and whether it does, from the results in --out; all ends with it.
Beside others, memory is handed out as the C library does it; alone, we keep what is freed, as a training run does.
Figures are comparable within one run; --against compares with an earlier one, of another commit say, and corrects for
the machine's own speed. Close other programs.
"""

import argparse
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROWS = {
    "training": ["S512", "S2048", "E64", "Llama"],
    "decoding": ["B1", "B8", "B64", "B8C2048", "G8", "G8N64", "G8N256"],
    "attention": [f"{batch}x{context}" for batch in (1, 8) for context in (256, 512, 1024, 2048, 4096, 8192)],
    "engine": ["greedy1", "greedy8", "sampled1", "sampled8"],
    "recompute": ["mini_v3", "wide"],
    "rl": [f"{shape}{length}" for shape in ("prompt", "llama") for length in ("16", "128", "512", "_natural")],
    "sft": ["v3_packed", "v3_masked", "llama_packed", "llama_masked"],
    "memory": ["experts", "sequence", "layers", "width", "vocabulary"],
    "scaling": ["experts", "sequence", "layers", "width", "vocabulary"],
    "precision": ["linear512", "linear2048", "linear4096", "step128", "step256", "step512", "step1024"],
    "experts": ["tokens1024", "tokens512", "tokens256", "tokens32", "step64"],
    "head": ["V8192", "V32768", "V131072"],
    "trainer": ["micro", "nano"],
    "optimizers": ["1M", "5M"],
    "sweep": ["nano", "micro"],
}
ALL, BARS = "all", "bars"
BARS_FIRST = ("training", "decoding", "attention", "experts", "head", "trainer", "rl", "sft", "precision")
"""What the bars need; under `all` it comes before the rest."""
ROUNDS, FEW_ROUNDS = 7, 5
ALONE = ("experts", "head", "precision", "scaling", "optimizers", "recompute")
"""Without another project beside us: training measured as a run has it, which keeps freed memory."""
MODULES = {"attention": "attention_step", "head": "head_loss", "trainer": "trainer_overhead"}
"""Of those whose module and result are not called after them."""


def parse(arguments: list[str]) -> Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*ROWS, ALL, BARS], help="what is measured, see above")
    parser.add_argument("--rows", nargs="+", help="; ".join(f"of {what}: {rows}" for what, rows in ROWS.items()))
    rounds = f"timed steps, or sweeps, of each contestant (default {ROUNDS}; all: {FEW_ROUNDS})"
    parser.add_argument("--rounds", type=int, help=rounds)
    minutes = "all: no row is begun after so many minutes (default 90)"
    parser.add_argument("--minutes", type=float, default=90.0, help=minutes)
    parser.add_argument("--batch", type=int, default=4, help="recompute: rows of 512 tokens a step (default 4)")
    parser.add_argument(
        "--compiled", action="store_true", help="training, decoding, engine: also steps through torch.compile"
    )
    parser.add_argument("--checkpoint", help="engine: a run folder")
    earlier = "an earlier result to compare with: its json, or the folder that it lies in (default name)"
    parser.add_argument("--against", type=Path, help=earlier)
    parser.add_argument("--out", type=Path, default=ROOT / "logs" / "benchmark")
    chosen = parser.parse_args(arguments)
    if problem := refused(chosen):
        parser.error(problem)
    chosen.rounds = chosen.rounds or (FEW_ROUNDS if chosen.what == ALL else ROUNDS)
    chosen.deadline = time.monotonic() + 60 * chosen.minutes if chosen.what == ALL else float("inf")
    return chosen


def refused(chosen: Namespace) -> str | None:
    """What is wrong with a command line, if anything is."""
    known = ROWS.get(chosen.what, [])
    for row in chosen.rows or []:
        if row not in known:
            return f"--rows: {row} is none of {', '.join(known) or 'them: ' + chosen.what + ' takes every row'}"
    if chosen.minutes <= 0:
        return f"--minutes: must be above 0, not {chosen.minutes:g}"
    if chosen.rounds is not None and chosen.rounds < 1:
        return f"--rounds: must be at least 1, not {chosen.rounds}"
    if chosen.what == "engine" and not chosen.checkpoint:
        return "engine: --checkpoint names a run folder"
    if chosen.against and chosen.what == ALL and not chosen.against.is_dir():
        return f"--against: {chosen.against} is no folder of results, which all is compared with"
    return None


def train(chosen: Namespace) -> None:
    from rich.console import Console

    from deepseek_lab.benchmarking import training

    console = Console(markup=False, emoji=False)
    conditions = training.environment()
    console.print(conditions)
    results = []
    for name in rows_in_time(chosen):
        console.print(name, style="bold")
        results.append(training.measure(training.WORKLOADS[name], chosen.rounds, console.print, chosen.compiled))
        training.save(results, conditions, chosen.out)
    if results:
        console.print(training.table(results))


def recompute(chosen: Namespace) -> None:
    from deepseek_lab.benchmarking import recompute

    measure_rows(chosen, recompute, lambda name, say: recompute.measure(name, chosen.batch, chosen.rounds, say))


def precision(chosen: Namespace) -> None:
    from deepseek_lab.benchmarking import precision

    recipes = precision.shipped_recipes()
    measure_rows(chosen, precision, lambda name, say: precision.measure(name, recipes, chosen.rounds, say))


def memory(chosen: Namespace) -> None:
    from deepseek_lab.benchmarking import memory

    measure_rows(chosen, memory, memory.measure)


def decoding(chosen: Namespace) -> None:
    from deepseek_lab.benchmarking import decoding

    measure_rows(chosen, decoding, lambda name, say: decoding.measure(name, chosen.rounds, say, chosen.compiled))


def engine(chosen: Namespace) -> None:
    from deepseek_lab.benchmarking import engine_modes

    def measure(name: str, say: Callable[[str], None]) -> Any:
        return engine_modes.measure(name, chosen.checkpoint, chosen.rounds, say, chosen.compiled)

    measure_rows(chosen, engine_modes, measure)


def timed(chosen: Namespace) -> None:
    """A benchmark that needs to know of the command line nothing but rows and rounds."""
    module = import_module(f"deepseek_lab.benchmarking.{MODULES.get(chosen.what, chosen.what)}")
    measure_rows(chosen, module, lambda name, say: module.measure(name, chosen.rounds, say))


def measure_rows(chosen: Namespace, benchmark: Any, measure: Callable[[str, Callable[[str], None]], Any]) -> None:
    """Row by row, each saved when it is there; then the table of all. `benchmark` is the module that knows both."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    results: list[Any] = []
    for name in rows_in_time(chosen):
        results.append(measure(name, console.print))
        benchmark.save(results, chosen.out)
    if results:
        console.print(benchmark.table(results))


def rows_in_time(chosen: Namespace) -> Iterator[str]:
    """The rows that begin before the time is over; the others are named."""
    for place, name in enumerate(chosen.rows):
        if time.monotonic() > chosen.deadline:
            print(f"{chosen.what}: no time left for {', '.join(chosen.rows[place:])}", flush=True)
            return
        yield name


BENCHMARKS = {
    **dict.fromkeys(ROWS, timed),
    "training": train,
    "decoding": decoding,
    "engine": engine,
    "recompute": recompute,
    "memory": memory,
    "precision": precision,
}


def result_file(what: str, place: Path) -> Path:
    """Where a benchmark's result lies in a folder; a file is one already."""
    return place if place.is_file() else place / f"{MODULES.get(what, what)}.json"


def bars(chosen: Namespace) -> None:
    """Which bars are met, from the results in a folder. Raises DataError where it holds none."""
    from rich.console import Console

    from deepseek_lab.benchmarking import bars, bars_report
    from deepseek_lab.config import DataError

    found = bars.verdicts({what: result_file(what, chosen.out) for what in ROWS})
    if not found:
        raise DataError(f"--out: {chosen.out} holds no result that a bar is measured by")
    bars_report.save(found, chosen.out)
    Console(markup=False, emoji=False).print(bars_report.table(found))
    for left in bars.missing(found):
        print(f"not measured: {left}")


def measure_one(what: str, chosen: Namespace) -> None:
    """Measures and, where asked, compares; the earlier result is read first: it may be the file that is written."""
    from deepseek_lab.benchmarking import against
    from deepseek_lab.experiment.freed_memory import keep_freed_memory, return_freed_memory

    (keep_freed_memory if what in ALONE else return_freed_memory)()
    chosen.rows = chosen.rows or ROWS[what]
    earlier = against.read_result(result_file(what, chosen.against)) if chosen.against else None
    BENCHMARKS[what](chosen)
    if earlier is not None and result_file(what, chosen.out).is_file():
        from rich.console import Console

        now = against.read_result(result_file(what, chosen.out))
        Console(markup=False, emoji=False).print(against.table(against.changes(earlier, now)))


def measure_all(chosen: Namespace) -> None:
    """One after the other, then the bars; what an earlier folder lacks is not compared."""
    for what in sorted(ROWS, key=lambda what: what not in BARS_FIRST):
        if what == "engine" and not chosen.checkpoint:
            print("engine: left out, --checkpoint names no run", flush=True)
            continue
        earlier = chosen.against if chosen.against and result_file(what, chosen.against).is_file() else None
        measure_one(what, Namespace(**{**vars(chosen), "what": what, "rows": None, "against": earlier}))
    bars(chosen)


def main() -> int:
    from deepseek_lab.command_line import answered

    chosen = parse(sys.argv[1:])
    return answered(lambda: measured(chosen))


def measured(chosen: Namespace) -> int:
    if chosen.what == BARS:
        bars(chosen)
    elif chosen.what == ALL:
        measure_all(chosen)
    else:
        measure_one(chosen.what, chosen)
    print(f"Written to {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
