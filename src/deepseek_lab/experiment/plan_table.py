"""Plans for a person: one job as a sheet, several as a table with a row each, refusals with their reason."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deepseek_lab.experiment.banner import duration, quantity
from deepseek_lab.planning.matching import WORDS
from deepseek_lab.planning.plan import Plan

NOTHING = "–"
"""The cell of a value that nobody knows."""


@dataclass(frozen=True)
class Row:
    """One job: its plan, or why it cannot run."""

    name: str
    overrides: tuple[str, ...]
    plan: Plan | None
    refused: str | None = None
    match: Mapping[str, Any] | None = None

    def as_data(self) -> dict[str, Any]:
        """Plain values; `refused` is None for a job that can run, and a refused job has no others."""
        own: dict[str, Any] = {"job": self.name, "overrides": list(self.overrides), "refused": self.refused}
        return own | (self.plan.as_data() | {"match": self.match} if self.plan else {})

    @property
    def variant(self) -> str:
        """The name without its seed."""
        return " ".join(word for word in self.name.split() if not word.startswith("seed=")) or self.name


def size(n_bytes: float) -> str:
    """`70.3 kB`, `1.25 GB`: three figures, decimal units."""
    for limit, divisor, unit in ((1e3, 1, "B"), (1e6, 1e3, "kB"), (1e9, 1e6, "MB"), (1e12, 1e9, "GB")):
        if n_bytes < limit:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes / divisor:.3g} {unit}"
    return f"{n_bytes / 1e12:,.3g} TB" if n_bytes < 1e15 else f"{n_bytes / 1e12:,.0f} TB"


def render(rows: Sequence[Row]) -> RenderableType:
    """The sheet of a single job, the tables of several."""
    if len(rows) == 1 and rows[0].plan:
        return Group(_sheet(rows[0].plan), *matching_lines(rows))
    planned = [(row.variant, row.plan) for row in rows if row.plan]
    refused = [Text(f"{row.name}: refused: {row.refused}", style="red") for row in rows if not row.plan]
    parts: list[RenderableType] = []
    if planned:
        plans = [plan for _, plan in planned]
        parts = [_table(planned), *matching_lines(rows), Text(in_all(plans)), Text(assumptions(plans))]
        if any(plan.fits is False for plan in plans):
            parts.append(Text("! is more than a device holds"))
    return Group(*parts, *refused)


def matching_lines(rows: Sequence[Row]) -> list[Text]:
    """What matching did: the target, and a line for each variant with its width and how far that misses."""
    matched = {row.variant: row.match for row in rows if row.match}
    if not matched:
        return []
    targets = {f"{match['target']:,.0f} {WORDS[match['rule']]}" for match in matched.values()}
    texts = {name: f"{match['width']}={match['value']} ({match['residual']:+.2%})" for name, match in matched.items()}
    lines = [f"{name}: {text}" for name, text in texts.items()] if len(rows) > 1 else list(texts.values())
    return [Text(f"matched to {' or '.join(sorted(targets))}:"), *(Text(f"  {line}") for line in lines)]


def in_all(plans: Sequence[Plan]) -> str:
    """Jobs, time and price of the whole sweep."""
    hours, costs = [plan.hours for plan in plans], [plan.cost for plan in plans]
    parts = [f"{len(plans)} jobs"]
    if None not in hours:
        parts.append(f"{_span(sum(filter(None, hours)))} one after the other")
    if None not in costs:
        parts.append(f"${sum(filter(None, costs)):,.0f}")
    return "in all: " + ", ".join(parts)


def _sheet(plan: Plan) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in sheet_lines(plan):
        table.add_row(Text(name), Text(text))
    return table


def sheet_lines(plan: Plan) -> list[tuple[str, str]]:
    """Every number of a plan with its unit, in about a dozen lines."""
    counts, parts, machine = plan.counts, plan.memory, plan.machine
    lines = [
        ("parameters", f"{quantity(counts.total_params)} ({counts.total_params:,})"),
        ("  active a token", f"{quantity(counts.active_params)} ({counts.active_params:,})"),
        ("  without embedding", f"{quantity(counts.active_params_no_embedding)} active"),
    ]
    if counts.mtp_params:
        lines.append(("  MTP modules", f"{quantity(counts.mtp_params)} more ({counts.mtp_params:,})"))
    cached = f"{counts.kv_cache_elements_per_token:,} numbers"
    where = f"on each of {machine.devices} devices" if machine.devices > 1 else "on one device"
    return [
        *lines,
        ("key-value cache", f"{size(plan.kv_cache_bytes_per_token)} a token in {plan.cache_dtype} ({cached})"),
        ("FLOPs", f"{quantity(counts.flops_per_token)} a token, forward and backward at {plan.seq_len:,} tokens"),
        ("tokens", f"{quantity(plan.tokens)} in {plan.steps:,} steps of {plan.batch_size:,} × {plan.seq_len:,}"),
        ("memory", f"{size(parts.peak)} {where}{_room(plan)}"),
        ("  weights", size(parts.weights)),
        ("  gradients", size(parts.gradients)),
        ("  optimiser", size(parts.optimizer)),
        ("  activations", f"{size(parts.activations)} of a micro-batch of {plan.micro_batch_size} in {plan.precision}"),
        ("time", _time(plan)),
        *([("price", f"${plan.cost:,.0f} at ${machine.price_per_hour:g} an hour")] if plan.cost is not None else []),
    ]


def _span(hours: float) -> str:
    return f"{hours / 24:,.0f} days" if hours > 48 else duration(hours * 3600)


def _room(plan: Plan) -> str:
    if plan.fits is None:
        return ""
    assert plan.machine.memory_bytes is not None, "whether it fits is known"
    room = f"the {size(plan.machine.memory_bytes)} of a {plan.machine.hardware}"
    return f", of {room}" if plan.fits else f", more than {room}"


def _time(plan: Plan) -> str:
    if plan.hours is None or plan.device_hours is None:
        return "unknown: no peak FLOP/s for this hardware; choose one, as in hardware=h100"
    several = f" ({plan.device_hours:,.0f} device hours)" if plan.machine.devices > 1 or plan.hours > 48 else ""
    return f"{_span(plan.hours)}{several}, {assumptions([plan])}"


def assumptions(plans: Sequence[Plan]) -> str:
    """What the times of some plans rest on."""
    machines = [plan.machine for plan in plans]
    known = {
        f"{100 * m.mfu:.3g}% of the {m.peak_flops / 1e12:,.3g} TFLOP/s of {m.devices} × {m.hardware}"
        for m in machines
        if m.peak_flops
    }
    return f"if {' or '.join(sorted(known))} is reached (mfu=)" if known else "times unknown: choose hardware="


_HEADS = (
    "parameters",
    "active",
    "FLOPs a token",
    "cache a token",
    "memory a device",
    "tokens",
    "time a job",
    "price a job",
)


def _table(planned: Sequence[tuple[str, Plan]]) -> Table:
    """A row each variant; its numbers are those of one job."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    variants = list(dict(planned).items())
    axis, labels = _labels([name for name, _ in variants])
    table.add_column(Text(axis), overflow="fold", min_width=16)
    priced = any(plan.cost is not None for _, plan in planned)
    seeds = Counter(name for name, _ in planned)
    counted = max(seeds.values()) > 1
    for head in (*(["jobs"] if counted else []), *(_HEADS if priced else _HEADS[:-1])):
        table.add_column(Text(head.replace(" ", "\n", 1)), justify="right", no_wrap=True)
    for label, (name, plan) in zip(labels, variants, strict=True):
        cells = [*([str(seeds[name])] if counted else []), *(_cells(plan) if priced else _cells(plan)[:-1])]
        table.add_row(Text(label), *map(Text, cells))
    return table


def _labels(names: Sequence[str]) -> tuple[str, list[str]]:
    """The head and the cells of the first column: values alone where the jobs differ in one key."""
    keys = {name.partition("=")[0] for name in names}
    if len(keys) == 1 and all(name.count("=") == 1 for name in names):
        return keys.pop(), [name.partition("=")[2] for name in names]
    return "job", list(names)


def _cells(plan: Plan) -> tuple[str, ...]:
    return (
        quantity(plan.counts.total_params),
        quantity(plan.counts.active_params),
        quantity(plan.counts.flops_per_token),
        size(plan.kv_cache_bytes_per_token),
        size(plan.memory.peak) + (" !" if plan.fits is False else ""),
        quantity(plan.tokens),
        NOTHING if plan.hours is None else _span(plan.hours),
        NOTHING if plan.cost is None else f"${plan.cost:,.0f}",
    )
