"""The loss of the output head, in chunks beside the plain two steps (logits, then cross entropy): memory and time.

Forward and backward for N rows of width 512 and a vocabulary V, the gradients of both sides included. Bytes are counted
tensor by tensor above the inputs, and read off the process as the operating system saw it.

Left out: `torch.nn.functional.linear_cross_entropy`, whose own choice of chunks takes 17 times as long at V = 131,072.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from deepseek_lab.benchmarking import paired
from deepseek_lab.benchmarking.interleaved import time_interleaved
from deepseek_lab.benchmarking.live_memory import LiveMemory, resident_growth
from deepseek_lab.objectives.next_token import chunked_cross_entropy

DIM = 512
CHUNKED, PLAIN = "chunked", "plain"
SHAPES = {"V8192": (8192, 4096), "V32768": (32768, 4096), "V131072": (131072, 512)}
"""Vocabulary and rows."""

ROWS = tuple(SHAPES)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def chunked(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """The mean loss as a stage computes it."""
    share_N = torch.full(targets_N.shape, 1 / targets_N.numel(), dtype=hidden_ND.dtype)
    return chunked_cross_entropy(hidden_ND, weight_VD, targets_N, share_N)[0]


def plain(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """The mean loss from whole logits."""
    return F.cross_entropy(F.linear(hidden_ND, weight_VD), targets_N)


LOSSES: dict[str, Loss] = {CHUNKED: chunked, PLAIN: plain}


def step(loss_of: Loss, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, _: Tensor | None = None) -> float:
    """Loss and both gradients, which are let go."""
    loss = loss_of(hidden_ND, weight_VD, targets_N)
    loss.backward()
    hidden_ND.grad = weight_VD.grad = None
    return loss.item()


def memory(run: Callable[[], float], owned: Sequence[Tensor]) -> dict[str, int | None]:
    """Bytes of a step at the most: counted, and by the growth of the process."""
    with LiveMemory(owned) as live:
        run()
    return {"peak": live.peak, "resident": resident_growth(run)}


def measure(name: str, rounds: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Seconds and bytes of both, ready for json. Raises ValueError where their losses differ by over 1e-5."""
    vocabulary, n_rows = SHAPES[name]
    torch.manual_seed(0)
    hidden_ND = torch.randn(n_rows, DIM).requires_grad_()
    weight_VD = (0.02 * torch.randn(vocabulary, DIM)).requires_grad_()
    targets_N = torch.randint(vocabulary, (n_rows,))
    steps = {who: partial(step, loss, hidden_ND, weight_VD, targets_N) for who, loss in LOSSES.items()}
    memories = {who: memory(run, (hidden_ND, weight_VD, targets_N)) for who, run in steps.items()}
    timings = time_interleaved(steps, lambda _: targets_N, rounds, report)
    if abs(timings.losses[CHUNKED][0] - timings.losses[PLAIN][0]) > 1e-5:
        raise ValueError(f"{name}: the losses differ: {timings.losses}")
    return {"row": name, "rounds": rounds, "seconds": timings.seconds, "memory": memories, **timings.machine}


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a row."""
    made = Table(
        title="Loss of the output head: chunked beside plain",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    made.add_column("row")
    columns = ("time / plain", "90%", "MB, chunked", "MB, plain", "times less", "process, times less")
    for column in columns:
        made.add_column(column, justify="right", no_wrap=column == "90%")
    for result in results:
        over = sorted(paired.ratios(result["seconds"], CHUNKED, PLAIN))
        low, high = paired.interval(over)
        sizes = [result["memory"][who]["peak"] for who in (CHUNKED, PLAIN)]
        less = [f"{times:.1f}" if times else "-" for times in (memory_ratio(result), memory_ratio(result, "resident"))]
        cells = (f"{over[len(over) // 2]:.2f}", f"{low:.2f}–{high:.2f}", *(f"{size / 1e6:,.0f}" for size in sizes))
        made.add_row(result["row"], *cells, *less)
    return made


def memory_ratio(result: dict[str, Any], measured: str = "peak") -> float | None:
    """Plain's bytes over the chunked loss's; None where the system does not tell."""
    small, large = (result["memory"][who][measured] for who in (CHUNKED, PLAIN))
    return large / small if small and large else None


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes head_loss.json."""
    paired.save(results, folder / "head_loss.json")
