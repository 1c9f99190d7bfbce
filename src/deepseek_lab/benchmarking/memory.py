"""The memory of a training step by size, with and without recomputed activations.

Counted exactly, tensor by tensor, over one forward and backward: the weights apart, the gradients and everything that
autograd keeps included. AdamW's moments are twice the weights and held all the time. The logits of a large vocabulary
would be 4·tokens·V bytes; the head loss never holds them whole, which the panel of the vocabulary shows.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from deepseek_lab.benchmarking.growth import AXES, LABELS, TOKENS, Sizes, points
from deepseek_lab.benchmarking.live_memory import LiveMemory
from deepseek_lab.benchmarking.recompute import CHOICES, loss_of
from deepseek_lab.checkpoint.atomic import write_atomically, write_text_atomically
from deepseek_lab.model.recompute import How, recompute

ROWS = tuple(AXES)
_BYTES = 4  # fp32
_TICKS = (30, 100, 300, 1000, 3000)  # MB


def measure(axis: str, report: Callable[[str], None], base: Sizes | None = None) -> dict[str, Any]:
    """Bytes at each value of one size: weights, whole logits, and for each choice what is kept and the peak."""
    found = []
    for value, sizes in points(axis, base).items():
        choices = {how: _bytes(sizes, how) for how in CHOICES}
        model = sizes.model()
        weights = _BYTES * sum(weight.numel() for weight in model.parameters())
        logits = _BYTES * sizes.tokens_BT1()[:, 1:].numel() * sizes.vocabulary
        found.append({"value": value, "weights": weights, "whole_logits": logits, "choices": choices})
        report(f"{axis} {value}: " + ", ".join(f"{how} {choices[how]['peak'] / 1e6:,.0f} MB" for how in CHOICES))
    return {"row": axis, "tokens": TOKENS, "points": found}


def _bytes(sizes: Sizes, how: How) -> dict[str, int]:
    """Bytes of one step beside the weights: held between its two passes, and at the most."""
    model, tokens_BT1 = sizes.model(), sizes.tokens_BT1()
    recompute(model, how)
    with LiveMemory([*model.parameters(), *model.buffers(), tokens_BT1]) as live:
        loss = loss_of(model, tokens_BT1)
        kept = live.now()
        loss.backward()
    return {"kept": kept, "peak": live.peak}


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a value."""
    made = Table(
        title=f"MB of a training step of {TOKENS:,} tokens", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    made.add_column("size", no_wrap=True)
    for column in ("", "weights", *(f"peak, {how}" for how in CHOICES), "kept, none", "kept, v3", "logits whole"):
        made.add_column(column, justify="right")
    for result in results:
        first, last = result["points"][0], result["points"][-1]
        for point in result["points"]:
            name = result["row"] if point is first else ""
            made.add_row(name, *_cells(point), end_section=point is last)
    return made


def _cells(point: dict[str, Any]) -> list[str]:
    choices = point["choices"]
    sizes = [point["weights"], *(choices[how]["peak"] for how in CHOICES)]
    sizes += [choices["none"]["kept"], choices["v3"]["kept"], point["whole_logits"]]
    return [f"{point['value']:,}", *(f"{size / 1e6:,.0f}" for size in sizes)]


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes memory.json and memory.png."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / "memory.json", json.dumps(list(results), indent=1))
    figure = Figure(figsize=(2.7 * len(results) + 0.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False, sharey=True)[0]
    for axes, result in zip(panels, results, strict=True):
        values = [point["value"] for point in result["points"]]
        for how in CHOICES:
            megabytes = [point["choices"][how]["peak"] / 1e6 for point in result["points"]]
            axes.loglog(values, megabytes, "o-", label=f"peak, recompute={how}")
        axes.loglog(values, [point["weights"] / 1e6 for point in result["points"]], "k:", label="weights")
        axes.loglog(values, [point["whole_logits"] / 1e6 for point in result["points"]], "C7--", label="logits, whole")
        axes.set_xlabel(LABELS[result["row"]])
        axes.set_xticks(values, [f"{value:,}" for value in values], fontsize=7)
        axes.set_yticks(_TICKS, [f"{tick:,}" for tick in _TICKS])
        axes.minorticks_off()
    figure.axes[0].set_ylabel("MB (peaks: beside the weights)")
    figure.axes[0].legend(fontsize=7)
    write_atomically(folder / "memory.png", lambda file: figure.savefig(file, format="png", dpi=150))
