"""The project's bars of speed and memory: what must hold, what would be better still, and what was measured.

A bar reads the results that the benchmarks wrote and takes the numbers of every round. It is met when the worse end of
a 90% bootstrap interval of their median meets it. Letters are those of the note on performance; numbers are ratios,
those of (b) shares of the machine's own best matrix product in the same process.

Left out: bars of latency (`--help`, the time to the first step), which are tests.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from deepseek_lab.benchmarking.paired import interval, ratios

Series = Mapping[str, Sequence[float]]
"""What was compared with what -> one number a round."""


@dataclass(frozen=True)
class Bar:
    """Rows of one benchmark and what they are held to; None: reported only.

    find: the numbers of a result's row. at_most: smaller is better.
    """

    letter: str
    benchmark: str
    rows: tuple[str, ...]
    find: Callable[[Mapping[str, Any]], Series]
    must: float | None
    goal: float | None
    at_most: bool = False


@dataclass(frozen=True)
class Verdict:
    """One measured line: median, its 90% interval, and whether the worse end meets must and goal."""

    letter: str
    command: str
    what: str
    must: float | None
    goal: float | None
    at_most: bool
    value: float
    low: float
    high: float

    def meets(self, mark: float | None) -> bool | None:
        """Whether the worse end of the interval meets a mark; None where there is none."""
        if mark is None:
            return None
        return self.high <= mark if self.at_most else self.low >= mark

    @property
    def times_must(self) -> float:
        """How many times as good as it must be."""
        assert self.must is not None, "only what must be is compared"
        return self.must / self.value if self.at_most else self.value / self.must


def times(base: str, *others: str) -> Callable[[Mapping[str, Any]], Series]:
    """Seconds of each of `others` that the row has over those of `base`, round by round."""

    def find(row: Mapping[str, Any]) -> Series:
        contestants = row.get("contestants", {})
        seconds = {name: figures["seconds"] for name, figures in contestants.items()} or row["seconds"]
        return {other: ratios(seconds, other, base) for other in others if other in seconds}

    return find


def _mfu(row: Mapping[str, Any]) -> Series:
    peak = row["sgemm_2048_gflops"] * 1e9
    return {"MFU": [row["flops_per_step"] / s / peak for s in row["contestants"]["deepseek_lab"]["seconds"]]}


def _head_memory(row: Mapping[str, Any]) -> Series:
    return {"memory": [row["memory"]["plain"]["peak"] / row["memory"]["chunked"]["peak"]]}


def _fp8(row: Mapping[str, Any]) -> Series:
    return {"fp8": row["recipes"]["fp8"]["times_fp32"]}


def _given(row: Mapping[str, Any]) -> Series:
    return {"TRL": row["ratios"]}


def _attention_rows(shortest: int) -> tuple[str, ...]:
    return tuple(f"{rows}x{context}" for rows in (1, 8) for context in (1024, 2048, 4096, 8192) if context >= shortest)


_TRAINED, _FUSED = times("deepseek_lab", "transformers"), times("deepseek_lab", "transformers, fused AdamW", "litgpt")
_DECODED = times("ours", "transformers")
_PROMPTS = ("16", "128", "512", "_natural")
BARS = (
    Bar("a", "training", ("S512",), _TRAINED, 1.25, 1.5),
    Bar("a", "training", ("S2048",), _TRAINED, 1.6, 2.0),
    Bar("a", "training", ("E64",), _TRAINED, 1.35, 1.7),
    Bar("a", "training", ("S512", "S2048", "E64", "Llama"), _FUSED, None, None),
    Bar("b", "training", ("S512",), _mfu, 0.55, 0.65),
    Bar("b", "training", ("E64",), _mfu, 0.45, 0.55),
    Bar("b", "training", ("S2048",), _mfu, 0.45, 0.60),
    Bar("c", "decoding", ("B1",), _DECODED, 2.0, 4.0),
    Bar("c", "decoding", ("B8",), _DECODED, 2.0, 3.0),
    Bar("c", "decoding", ("B64",), _DECODED, 2.5, 4.0),
    Bar("c", "decoding", ("B8C2048",), _DECODED, 10.0, 20.0),
    Bar("c", "decoding", ("B1",), times("ours, compiled", "transformers, compiled"), 2.0, 4.0),
    Bar("c", "decoding", ("B8",), times("ours", "transformers, compiled"), 2.0, 3.0),
    Bar("c", "decoding", ("B64",), times("ours", "transformers, compiled"), 2.5, 4.0),
    Bar("c", "decoding", ("B8C2048",), times("ours", "transformers, compiled"), 10.0, 20.0),
    Bar("d", "attention", _attention_rows(1024), times("absorbed", "expanded"), 10.0, 20.0),
    Bar("d", "attention", _attention_rows(4096), times("absorbed", "full"), 2.0, 4.0),
    Bar("e", "experts", ("tokens1024", "tokens512"), times("dense", "mixture"), 1.35, 1.1, at_most=True),
    Bar("e", "experts", ("tokens256",), times("dense", "mixture"), 2.1, 1.5, at_most=True),
    Bar("e", "experts", ("tokens32",), times("dense", "mixture"), 3.3, 2.5, at_most=True),
    Bar("e", "experts", ("step64",), times("16 experts", "64 experts"), 1.25, 1.1, at_most=True),
    Bar("f", "head", ("V8192", "V32768"), _head_memory, 10.0, 12.0),
    Bar("f", "head", ("V8192",), times("plain", "chunked"), 1.05, 0.9, at_most=True),
    Bar("f", "head", ("V131072",), times("plain", "chunked"), 1.3, 1.1, at_most=True),
    Bar("g", "trainer", ("micro",), times("bare loop", "as shipped"), 1.05, 1.02, at_most=True),
    Bar("h", "rl", tuple(f"prompt{length}" for length in _PROMPTS), _given, 2.2, 4.0),
    Bar("h", "rl", tuple(f"llama{length}" for length in _PROMPTS), _given, 2.0, 3.0),
    Bar("i", "decoding", ("G8",), _DECODED, 5.0, 10.0),
    Bar("i", "decoding", ("G8",), times("ours", "ours, one by one"), 2.5, 4.0),
    Bar("i", "decoding", ("G8N64", "G8N256"), times("ours", "transformers", "ours, one by one"), None, None),
    Bar("j", "sft", ("v3_packed", "v3_masked", "llama_packed", "llama_masked"), _given, 1.3, 2.0),
    Bar("k", "precision", ("linear512", "linear2048", "linear4096"), _fp8, 1.25, 1.12, at_most=True),
)


def rows_of(content: Any) -> dict[str, Mapping[str, Any]]:
    """The rows of a benchmark's file by their names."""
    results = content["results"] if isinstance(content, Mapping) else content
    named = ((row.get("row") or row.get("what") or row.get("workload", {}).get("name"), row) for row in results)
    return {name: row for name, row in named if name}


def verdicts(files: Mapping[str, Path]) -> list[Verdict]:
    """Every bar with every row that was measured. files: a benchmark's name -> where its result lies, or would."""
    found: list[Verdict] = []
    contents = {name: rows_of(json.loads(path.read_text())) for name, path in files.items() if path.is_file()}
    for bar in BARS:
        measured = contents.get(bar.benchmark, {})
        for row in (name for name in bar.rows if name in measured):
            found.extend(_judged(bar, row, bar.find(measured[row])))
    return found


def _judged(bar: Bar, row: str, series: Series) -> Iterator[Verdict]:
    command = f"{bar.benchmark} --rows {row}"
    for what, values in series.items():
        low, high = interval(values)
        yield Verdict(bar.letter, command, what, bar.must, bar.goal, bar.at_most, median(values), low, high)


def missing(found: Sequence[Verdict]) -> list[str]:
    """The commands that bars wait for beside those of `found`."""
    seen = {(verdict.letter, verdict.command) for verdict in found}
    wanted = [(bar.letter, f"{bar.benchmark} --rows {row}") for bar in BARS for row in bar.rows]
    return [f"({letter}) {command}" for letter, command in dict.fromkeys(wanted) if (letter, command) not in seen]
