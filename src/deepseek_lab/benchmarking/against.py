"""One benchmark's result against an earlier one, of another commit say: how the seconds and bytes of each row moved.

Two runs are two moments of a machine that drifts by up to a factor of two, so a ratio stands beside the same ratio in
units of the machine's own matrix product, where both results hold it: what moves with the machine cancels there.
The spread is a 90% bootstrap interval of the ratio of medians over the rounds of both.

Left out: two different benchmarks, and rows that only one of them has.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from deepseek_lab.config import DataError

MEASURED = ("seconds", "peak")
"""The keys of a result that hold what was measured: rounds of seconds, bytes at the most."""
PEAK = "sgemm_2048_gflops"
_NAMES = ("row", "what", "shape", "model", "name", "value")
_DRAWS = 2000


@dataclass(frozen=True)
class Change:
    """A row then and now (medians), now over then with its 90% interval, and that against the machine's products."""

    row: str
    before: float
    now: float
    ratio: float
    low: float
    high: float
    against_machine: float | None


def read_result(path: Path) -> Any:
    """A json that a benchmark wrote. Raises DataError when it is none, or holds nothing that was measured."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise DataError(f"{path}: is no json") from None
    if not measured(content):
        raise DataError(f"{path}: holds no result of a benchmark")
    return content


def measured(content: Any) -> dict[str, list[float]]:
    """Every row of a result with its numbers, one a round."""
    results = content.get("results", []) if isinstance(content, Mapping) else content
    if not isinstance(results, Sequence) or isinstance(results, str):
        return {}
    return {" ".join(path): values for result in results for path, values in _found(result, ())}


def _found(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[float]]]:
    if not isinstance(node, Mapping):
        return
    path = (*path, *_own_name(node))
    for key, value in node.items():
        if key in MEASURED:
            named = value.items() if isinstance(value, Mapping) else [("", value)]
            for who, numbers in named:
                values = [float(n) for n in (numbers if isinstance(numbers, list) else [numbers])]
                yield (*path, *filter(None, (who, key if key != MEASURED[0] else ""))), values
        elif isinstance(value, Mapping):
            for inner, child in value.items():
                yield from _found(child, (*path, str(inner)))
        elif isinstance(value, list):
            for child in value:
                yield from _found(child, path)


def _own_name(node: Mapping[str, Any]) -> tuple[str, ...]:
    own = {**node.get("workload", {}), **node}
    return next(((str(own[key]),) for key in _NAMES if isinstance(own.get(key), (str, int))), ())


def machine_peak(content: Any) -> float | None:
    """GFLOP/s of the machine's own matrix product during a result, where it was measured."""
    results = content.get("results", []) if isinstance(content, Mapping) else content
    peaks = [result[PEAK] for result in results if PEAK in result]
    return median(peaks) if peaks else None


def changes(before: Any, now: Any) -> list[Change]:
    """The rows that both results have."""
    then, here = measured(before), measured(now)
    peaks = machine_peak(before), machine_peak(now)
    faster = peaks[1] / peaks[0] if peaks[0] and peaks[1] else None
    return [_change(row, then[row], here[row], faster) for row in here if row in then and median(then[row]) > 0]


def _change(row: str, before: list[float], now: list[float], faster: float | None) -> Change:
    ratio = median(now) / median(before)
    generator = np.random.default_rng(0)
    drawn = [np.median(generator.choice(values, (_DRAWS, len(values))), axis=1) for values in (now, before)]
    low, high = np.quantile(drawn[0] / drawn[1], (0.05, 0.95))
    in_bytes = row.endswith(MEASURED[1])
    machine = ratio * faster if faster and not in_bytes else None
    return Change(row, median(before), median(now), ratio, float(low), float(high), machine)


def table(found: Sequence[Change]) -> Table:
    """One line a row; below 1 is quicker, or smaller."""
    made = Table(title="Against the earlier result (below 1: quicker, smaller)", title_justify="left", box=SIMPLE_HEAD)
    made.add_column("row")
    for column in ("then", "now", "now / then", "90%", "per product\nof the machine"):
        made.add_column(column, justify="right", no_wrap=True)
    for change in found:
        amounts = (_amount(value, change.row.endswith(MEASURED[1])) for value in (change.before, change.now))
        machine = "-" if change.against_machine is None else f"{change.against_machine:.2f}"
        spread = f"{change.low:.2f}–{change.high:.2f}"
        made.add_row(change.row, *amounts, f"{change.ratio:.2f}", spread, machine)
    return made


def _amount(value: float, in_bytes: bool) -> str:
    if in_bytes:
        return f"{value / 1e6:,.0f} MB"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.2f} ms"
