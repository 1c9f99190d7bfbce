"""What a number format cost in loss: the relative error of each recipe's curve against that of bf16.

error = (loss - loss_bf16) / loss_bf16 at each step, of training losses smoothed by an exponential mean of 0.9, as in
DeepSeek-V3 appendix B.1, whose bound of 0.25% is drawn. Runs are paired by seed: they saw the same tokens from the
same weights. Below it, the share of numbers that quantisation flushed to zero, where a run recorded it.

The figure is drawn when the runs differ in their precision and one of them is bf16. What differs besides the
precision makes a figure of its own (dense, mixture).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator

from deepseek_lab.report.comparison import Variant
from deepseek_lab.report.document import Picture
from deepseek_lab.report.drawing import GREY, columns, new_figure, picture, plain_axes, style
from deepseek_lab.report.findings import Evidence
from deepseek_lab.report.run_files import METRICS, finite, json_rows, whole_text
from deepseek_lab.report.runs import Run

BASELINE = "bf16"
PAPERS_BOUND = 0.25
"""Per cent, V3 §3.3."""

SMOOTHING = 0.9
LOSS = "train/loss_next_token"
OPERANDS = ("activation", "gradient")
Array = np.ndarray[Any, np.dtype[np.float64]]
Curves = dict[str, dict[int, float]]
"""Values by step, by the curve's name."""

Read = Mapping[Path, Curves]
"""By run folder."""


@dataclass(frozen=True)
class Errors:
    """Relative loss error in per cent at each step that all seeds have: mean, least and largest over seeds."""

    tokens: Array
    mean: Array
    least: Array
    largest: Array

    @property
    def later_mean(self) -> float:
        """Mean magnitude over the second half of the run, of the mean over seeds."""
        return float(np.abs(self.mean[len(self.mean) // 2 :]).mean())


def curves(run: Run) -> Curves:
    """The loss and the underflow shares of a run, each by step; one pass over its file."""
    path = run.folder / METRICS
    found: Curves = {name: {} for name in (LOSS, *map(underflow_share, OPERANDS))}
    for row in json_rows(path, whole_text(path)):
        for name, values in found.items():
            if isinstance(row.get("step"), int) and (value := finite(row.get(name))) is not None:
                values[row["step"]] = value
    return found


def underflow_share(kind: str) -> str:
    """The curve of a kind of operand."""
    return f"fp8/{kind}/underflow_share"


def smoothed(values: Array) -> Array:
    """Exponential mean with coefficient 0.9, unbiased at the start."""
    out, mean, weight = np.empty_like(values), 0.0, 0.0
    for i, value in enumerate(values):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        out[i] = mean / weight
    return out


def relative_error(loss: Mapping[int, float], reference: Mapping[int, float]) -> dict[int, float]:
    """Per cent at each step that both have."""
    steps = sorted(loss.keys() & reference.keys())
    ours, theirs = (smoothed(np.array([losses[step] for step in steps])) for losses in (loss, reference))
    return dict(zip(steps, (100 * (ours - theirs) / theirs).tolist(), strict=True))


def errors_of(variant: Variant, baseline: Variant, read: Read) -> Errors | None:
    """The errors of a variant's seeds that the baseline has too; None where there are none."""
    references = {run.seed: read[run.folder][LOSS] for run in baseline.runs}
    runs = [run for run in variant.runs if run.seed in references]
    each = [relative_error(read[run.folder][LOSS], references[run.seed]) for run in runs]
    steps = sorted(set.intersection(*map(set, each))) if each else []
    if not steps:
        return None
    values = np.array([[errors[step] for step in steps] for errors in each])
    return Errors(np.array(steps) * _tokens_a_step(variant), values.mean(0), values.min(0), values.max(0))


def _tokens_a_step(variant: Variant) -> float:
    return variant.runs[0].tokens / max(variant.runs[0].steps, 1)


def precision_figures(evidence: Evidence) -> Iterator[Picture]:
    """One figure for each group of variants that differ in nothing but precision and have a bf16 among them."""
    groups: dict[str, list[Variant]] = {}
    for variant in evidence.comparison.variants:
        rest = " ".join(f"{key}={value}" for key, value in variant.settings if key != "precision")
        groups.setdefault(rest, []).append(variant)
    for rest, variants in groups.items():
        baseline = next((v for v in variants if _precision(v) == BASELINE), None)
        if baseline and len(variants) > 1:
            yield from _figure(evidence, rest, [v for v in variants if v is not baseline], baseline)


def _precision(variant: Variant) -> str:
    return str(variant.runs[0].choices.get("precision"))


def _figure(evidence: Evidence, rest: str, variants: Sequence[Variant], baseline: Variant) -> Iterator[Picture]:
    read = {run.folder: curves(run) for variant in (*variants, baseline) for run in variant.runs}
    found = [(v, errors) for v in variants if (errors := errors_of(v, baseline, read)) is not None]
    if not found:
        return
    underflow = [(v, k) for v, _ in found for k in OPERANDS if read[v.runs[0].folder][underflow_share(k)]]
    beside = columns([_precision(v) for v, _ in found])
    figure = new_figure(3.9 if not underflow else 6.6)
    panels = figure.subplots(1 + bool(underflow), 1, squeeze=False)[:, 0]
    for variant, errors in found:
        look = style(evidence.comparison, variant)
        panels[0].plot(errors.tokens, errors.mean, linewidth=1.3, color=look["color"], label=_precision(variant))
        if len(variant.runs) > 1:
            panels[0].fill_between(
                errors.tokens, errors.least, errors.largest, color=look["color"], alpha=0.15, linewidth=0
            )
    _axes(panels[0], found)
    if underflow:
        _underflow(panels[1], evidence, underflow, read)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=beside, frameon=False)
    name = "relative_loss_error" + (f"_{rest.replace('=', '-').replace(' ', '_')}" if rest else "")
    said = "; ".join(f"{_precision(v)} {e.later_mean:.2f}%" for v, e in found)
    caption = (
        f"Training loss against bf16's, smoothed (0.9), paired by seed: mean and range over seeds. Mean magnitude of "
        f"the mean's error over the second half: {said}. Dotted: the paper's 0.25%."
    )
    yield picture(figure, name, f"Relative loss error{f', {rest}' if rest else ''}", caption)


def _axes(panel: Any, found: Sequence[tuple[Variant, Errors]]) -> None:
    """Scaled by what comes after the first tenth, where losses still fall by the step."""
    for level in (-PAPERS_BOUND, PAPERS_BOUND):
        panel.axhline(level, color=GREY, linestyle=":", linewidth=1.2)
    later = [np.abs(part[len(part) // 10 :]).max() for _, e in found for part in (e.least, e.largest)]
    limit = max(1.5 * PAPERS_BOUND, 1.05 * max(later))
    panel.set_ylim(-limit, limit)
    plain_axes(panel, "training tokens", "loss error against bf16, %")
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.xaxis.set_major_locator(MaxNLocator(5))


def _underflow(panel: Any, evidence: Evidence, lines: Sequence[tuple[Variant, str]], read: Read) -> None:
    """Gradients drawn, activations dashed; the mean over seeds."""
    for variant, kind in lines:
        each = [read[run.folder][underflow_share(kind)] for run in variant.runs]
        steps = sorted(set.intersection(*map(set, each)))
        shares = [100 * float(np.mean([values[step] for values in each])) for step in steps]
        dash = "-" if kind == "gradient" else "--"
        colour = style(evidence.comparison, variant)["color"]
        panel.plot(
            [step * _tokens_a_step(variant) for step in steps], shares, color=colour, linestyle=dash, linewidth=1.3
        )
    panel.set_yscale("log")
    plain_axes(panel, "training tokens", "flushed to zero, %\n(gradients; activations dashed)")
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.xaxis.set_major_locator(MaxNLocator(5))
