"""Speed by size: tokens a second along experts, sequence, depth, width and vocabulary, beside FLOPs and bytes.

A step is what a run does: forward, backward, AdamW. Along one size all networks take turns, so that the machine's
drift falls on all. Two counts explain the curves:

* FLOPs a token   6 · active matmul weights + the causal half of attention (planning.counts)
* bytes a token   what a step cannot but move, if every operation were fused: each weight read by both passes, its
                  gradient written, AdamW's 7 passes (4 reads, 3 writes); each kept activation written and read

The floor is FLOPs over the best product of 2,048 seen, plus bytes over the best copy seen, both in this process.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from deepseek_lab.benchmarking.growth import AXES, LABELS, Sizes, points
from deepseek_lab.benchmarking.interleaved import time_interleaved
from deepseek_lab.benchmarking.live_memory import LiveMemory
from deepseek_lab.benchmarking.recompute import loss_of
from deepseek_lab.checkpoint.atomic import write_atomically, write_text_atomically
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.planning.counts import flops_per_token

ROWS = tuple(AXES)
_BYTES = 4  # fp32
_PASSES = 2 + 1 + 7
_TICKS = (0.5, 1, 2, 5, 10)


def bytes_of_step(model: Transformer, tokens_BT1: Tensor) -> int:
    """Bytes that a training step moves at least, see above."""
    with LiveMemory([*model.parameters(), *model.buffers(), tokens_BT1]) as live:
        loss = loss_of(model, tokens_BT1)
        kept: int = live.now()
    del loss
    weights: int = sum(weight.numel() for weight in model.parameters())
    return _BYTES * _PASSES * int(weights) + 2 * kept


def copy_bandwidth(size: int = 2**26, repeats: int = 5) -> float:
    """Best bytes a second, read and written, of copying `size` fp32 numbers."""
    source, target = torch.zeros(size), torch.zeros(size)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - start)
    return 2 * _BYTES * size / best


def training_step(model: Transformer, tokens_BT1: Tensor) -> Callable[[Tensor], float]:
    """A step on the same tokens each time, with an AdamW of its own."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(_: Tensor) -> float:
        loss = loss_of(model, tokens_BT1)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def measure(axis: str, rounds: int, report: Callable[[str], None], base: Sizes | None = None) -> dict[str, Any]:
    """The figures along one size, ready for json."""
    along = points(axis, base)
    models = {value: sizes.model() for value, sizes in along.items()}
    tokens = {value: sizes.tokens_BT1() for value, sizes in along.items()}
    counted = {value: bytes_of_step(model, tokens[value]) for value, model in models.items()}
    steps = {str(value): training_step(model, tokens[value]) for value, model in models.items()}
    bandwidth = copy_bandwidth()
    timings = time_interleaved(steps, lambda number: torch.tensor(number), rounds, report)
    machine = {**timings.machine, "copy_gigabytes": max(bandwidth, copy_bandwidth()) / 1e9}
    found = [
        _point(value, timings.seconds[str(value)], models[value], tokens[value], counted[value], machine)
        for value in along
    ]
    return {"row": axis, "rounds": rounds, **machine, "points": found}


def _point(
    value: int, seconds: list[float], model: Transformer, tokens_BT1: Tensor, n_bytes: int, machine: dict[str, float]
) -> dict[str, Any]:
    n_tokens, sequence = tokens_BT1[:, 1:].numel(), tokens_BT1.shape[1] - 1
    flops, peak = flops_per_token(model, sequence), machine["sgemm_2048_gflops"] * 1e9
    return {
        "value": value,
        "seconds": seconds,
        "tokens": n_tokens,
        "tokens_per_second": n_tokens / median(seconds),
        "flops_per_token": flops,
        "bytes_per_token": n_bytes / n_tokens,
        "mfu": n_tokens * flops / median(seconds) / peak,
        "floor_seconds": n_tokens * flops / peak + n_bytes / (machine["copy_gigabytes"] * 1e9),
    }


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a value; the × columns are over the size's first value."""
    made = Table(title="A training step by size", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    made.add_column("size", no_wrap=True)
    for column in ("", "tokens/s", "time ×", "FLOPs ×", "bytes ×", "MFU", "floor / time"):
        made.add_column(column, justify="right")
    for result in results:
        first, last = result["points"][0], result["points"][-1]
        for point in result["points"]:
            name = result["row"] if point is first else ""
            made.add_row(name, *_cells(point, first), end_section=point is last)
    return made


def _cells(point: dict[str, Any], first: dict[str, Any]) -> Iterator[str]:
    yield f"{point['value']:,}"
    yield f"{point['tokens_per_second']:,.0f}"
    yield f"{first['tokens_per_second'] / point['tokens_per_second']:.2f}"
    yield from (f"{point[key] / first[key]:.2f}" for key in ("flops_per_token", "bytes_per_token"))
    yield f"{point['mfu']:.0%}"
    yield f"{point['floor_seconds'] / median(point['seconds']):.0%}"


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes scaling.json and scaling.png."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / "scaling.json", json.dumps(list(results), indent=1))
    figure = Figure(figsize=(2.7 * len(results) + 0.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False, sharey=True)[0]
    for axes, result in zip(panels, results, strict=True):
        _draw(axes, result)
    figure.axes[0].set_ylabel("time, FLOPs, bytes of a token (first = 1)")
    figure.axes[0].legend(fontsize=7)
    write_atomically(folder / "scaling.png", lambda file: figure.savefig(file, format="png", dpi=150))


def _draw(axes: Any, result: dict[str, Any]) -> None:
    """Time, FLOPs, bytes and the floor of a token, each over that of the first value."""
    values, first = [point["value"] for point in result["points"]], result["points"][0]
    base = median(first["seconds"]) / first["tokens"]
    for point in result["points"]:
        rounds = [seconds / point["tokens"] / base for seconds in point["seconds"]]
        axes.plot([point["value"]] * len(rounds), rounds, "C0.", markersize=3)
    times = [median(point["seconds"]) / point["tokens"] / base for point in result["points"]]
    axes.plot(values, times, "C0o-", label="time (dots: rounds)")
    for key, style, label in (("flops_per_token", "C1s--", "FLOPs"), ("bytes_per_token", "C2^--", "bytes")):
        axes.plot(values, [point[key] / first[key] for point in result["points"]], style, label=label)
    floors = [point["floor_seconds"] / point["tokens"] / base for point in result["points"]]
    axes.plot(values, floors, "k:", label="floor / first time")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(LABELS[result["row"]])
    axes.set_xticks(values, [f"{value:,}" for value in values], fontsize=7)
    axes.set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.minorticks_off()
