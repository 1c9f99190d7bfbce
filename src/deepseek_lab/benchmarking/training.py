"""Training speed against transformers' and litgpt's own networks, as figures, a table and a picture.

litgpt takes part where it is installed. The first step's losses must agree: it is the same network or no comparison.

MFU counts useful FLOPs only: 6 · active matmul weights plus the causal half of attention, over the best
sgemm of 2048 seen in the same process.
"""

import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from deepseek_lab.benchmarking.contestants import Step, Workload, litgpt_step, our_step, their_step
from deepseek_lab.benchmarking.interleaved import Timings, time_interleaved
from deepseek_lab.benchmarking.litgpt_network import INSTALL, is_installed
from deepseek_lab.checkpoint.atomic import write_atomically, write_text_atomically
from deepseek_lab.planning.counts import flops_per_token

WORKLOADS = {
    "S512": Workload("S512", batch=8, seq_len=512, n_experts=16),
    "S2048": Workload("S2048", batch=2, seq_len=2048, n_experts=16),
    "E64": Workload("E64", batch=8, seq_len=512, n_experts=64),
    "Llama": Workload("Llama", batch=8, seq_len=512, n_experts=0),
}
OURS, THEIRS, THEIRS_FUSED, LITGPT = "deepseek_lab", "transformers", "transformers, fused AdamW", "litgpt"
COMPILED = "deepseek_lab, compiled"
_SHORT = {THEIRS_FUSED: "+ fused AdamW", COMPILED: "+ compiled blocks"}
SAME = 1e-4
"""Nats by which the losses of the first step may differ."""


def measure(workload: Workload, rounds: int, report: Callable[[str], None], compiled: bool = False) -> dict[str, Any]:
    """The figures of one workload: plain numbers, ready for json. Raises ValueError where first losses differ.

    compiled: our blocks through torch.compile as well, a contestant of its own.
    """
    step, model = our_step(workload)
    steps: dict[str, Step] = {
        OURS: step,
        **({COMPILED: our_step(workload, compiled=True)[0]} if compiled else {}),
        THEIRS: their_step(workload, fused=False),
        THEIRS_FUSED: their_step(workload, fused=True),
    }
    if is_installed():
        steps[LITGPT] = litgpt_step(workload)
    else:
        report(f"litgpt is not installed and left out ({INSTALL})")
    timings = time_interleaved(steps, workload.tokens_BT1, rounds, report)
    first = {name: losses[0] for name, losses in timings.losses.items()}
    if max(first.values()) - min(first.values()) > SAME:
        raise ValueError(f"{workload.name}: the losses of the first step differ: {first}")
    flops = flops_per_token(model, workload.seq_len) * workload.tokens_per_step
    return {
        "workload": vars(workload),
        "rounds": rounds,
        "flops_per_step": flops,
        "sgemm_2048_gflops": timings.peak_flops / 1e9,
        "contestants": {name: _figures(timings, name, flops, workload.tokens_per_step) for name in steps},
    }


def _figures(timings: Timings, name: str, flops: float, tokens: int) -> dict[str, Any]:
    seconds, ratios = timings.seconds[name], timings.ratios(name, OURS)
    mfu_median, mfu_best = timings.mfu(name, flops)
    return {
        "seconds": seconds,
        "tokens_per_second_median": tokens / median(seconds),
        "tokens_per_second_best": tokens / min(seconds),
        "mfu_median": mfu_median,
        "mfu_best": mfu_best,
        "times_ours_median": median(ratios),
        "times_ours_range": [min(ratios), max(ratios)],
        "losses": timings.losses[name],
    }


def environment() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    import transformers

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "load_average_at_start": os.getloadavg()[0],
    }


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One row a contestant and workload; 80 columns are enough."""
    made = Table(
        title="Training, fp32: the same model, weights and tokens in one process",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in ("", "", "seconds\na step\n(best)", "tokens\na second", "MFU", "times ours\n(range)", "loss"):
        made.add_column(column, justify="right" if column else "left", no_wrap=True)
    for result in results:
        for name, figures in result["contestants"].items():
            workload = result["workload"]["name"] if name == OURS else ""
            made.add_row(workload, *_cells(name, figures), end_section=name == list(result["contestants"])[-1])
    made.caption = f"sgemm 2048, best: {max(r['sgemm_2048_gflops'] for r in results):.0f} GFLOP/s"
    return made


def _cells(name: str, figures: dict[str, Any]) -> tuple[str, ...]:
    seconds, (low, high) = figures["seconds"], figures["times_ours_range"]
    return (
        _SHORT.get(name, name),
        f"{median(seconds):.2f} ({min(seconds):.2f})",
        f"{figures['tokens_per_second_median']:,.0f}",
        f"{figures['mfu_median']:.0%}",
        "1" if name == OURS else f"{figures['times_ours_median']:.2f} ({low:.2f}–{high:.2f})",
        f"{figures['losses'][-1]:.4f}",
    )


def save(results: Sequence[dict[str, Any]], conditions: dict[str, Any], folder: Path) -> None:
    """Writes training.json and training.png."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    content = {"environment": conditions, "results": list(results)}
    write_text_atomically(folder / "training.json", json.dumps(content, indent=1))
    figure = Figure(figsize=(3.2 * len(results) + 1, 3.6), layout="constrained")
    for axes, result in zip(figure.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        _draw(axes, result)
    figure.axes[0].set_ylabel("tokens a second (bar: median, dots: rounds)")
    write_atomically(folder / "training.png", lambda file: figure.savefig(file, format="png", dpi=150))


def _draw(axes: Any, result: dict[str, Any]) -> None:
    contestants = result["contestants"]
    tokens = result["workload"]["batch"] * result["workload"]["seq_len"]
    speeds = [[tokens / s for s in figures["seconds"]] for figures in contestants.values()]
    axes.bar(range(len(speeds)), [median(s) for s in speeds], color=["C0", *["C7"] * (len(speeds) - 1)], alpha=0.6)
    for place, values in enumerate(speeds):
        axes.plot([place] * len(values), values, "k.", markersize=4)
    names = [{OURS: "ours"}.get(name, _SHORT.get(name, name)).replace(" ", "\n", 2) for name in contestants]
    axes.set_xticks(range(len(speeds)), names, fontsize=8)
    axes.set_title(result["workload"]["name"], fontsize=10)
