"""What a run prints before its first step: where, how large, how long, how to watch it."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from deepseek_lab.advice import typed
from deepseek_lab.planning.counts import Counts

ASSUMED_MFU = 0.3


def duration(seconds: float) -> str:
    """`42 s`, `7 min`, `3.1 h`, `12 days`: two figures are enough for a guess."""
    for limit, divisor, unit in ((90, 1, "s"), (5400, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            value = seconds / divisor
            return f"{value:.1f} {unit}" if value < 10 and unit == "h" else f"{max(value, 1):.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def quantity(n: float) -> str:
    """`943`, `0.86M`, `671B`: a count at a glance."""
    for limit, divisor, unit in ((1e4, 1, ""), (1e5, 1e3, "k"), (1e9, 1e6, "M"), (1e12, 1e9, "B")):
        if n < limit:
            value = n / divisor
            return f"{value:.0f}{unit}" if unit == "" or value >= 100 else f"{value:.3g}{unit}"
    return f"{n / 1e12:.3g}T"


def print_banner(
    console: Console,
    run_folder: Path,
    counts: Counts,
    tokens: int,
    tokens_left: int,
    peak_flops: float | None,
    first_step: int,
    max_steps: int,
    precision: str,
    notes: Sequence[str] = (),
) -> None:
    """Six lines, and what there is to say of the data; the time is a guess at an assumed share of the peak."""
    params = f"{quantity(counts.total_params)} parameters"
    if counts.active_params != counts.total_params:
        params += f", {quantity(counts.active_params)} active"
    if counts.mtp_params:
        params += f", and {quantity(counts.mtp_params)} in MTP modules"
    time = "time unknown: no peak FLOP/s for this hardware"
    if peak_flops:
        seconds = counts.flops_per_token * tokens_left / (peak_flops * ASSUMED_MFU)
        time = f"about {duration(seconds)} if {ASSUMED_MFU:.0%} of the peak {peak_flops / 1e9:,.0f} GFLOP/s is reached"
    lines = [
        ("run", str(run_folder)),
        ("model", params + f"; {counts.kv_cache_elements_per_token:,} cache numbers a token"),
        ("numbers", precision),
        ("steps", f"{first_step:,} to {max_steps:,}; {quantity(tokens)} tokens in all"),
        ("time", time),
        ("curves", typed(["tensorboard", "--logdir", str(run_folder.parent)])),
    ]
    for name, text in [*lines, *(("data", note) for note in notes)]:
        print_note(console, name, text)


def print_note(console: Console, name: str, text: str) -> None:
    """A line of the banner, or one below it; nothing for an empty text. Brackets in it are no markup."""
    if text:
        console.print(Text.assemble((f"{name:>7}", "bold"), f"  {text}"), soft_wrap=True)
