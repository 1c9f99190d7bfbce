"""The table of every curve: its name, its unit, what it is divided by and what it means.

A stage and a callback may record only names that stand here, so two runs can be compared and a
spelling exists once. A name in braces stands for a number (`train/loss_mtp_{depth}`), `{source}` and
`{operand}` for a word.

Left out: how a curve is computed (stages/, callbacks/) and where it goes (trainer_plugins/).
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from deepseek_lab.config import nearest


@dataclass(frozen=True)
class Curve:
    """One row of the table; `denominator` says what a value is a mean over.

    better: which way is better, `lower` or `higher`; empty where neither is
    """

    name: str
    unit: str
    denominator: str
    meaning: str
    better: str = ""


_WINDOW = "the steps since the last row; in a step, "

CURVES: tuple[Curve, ...] = (
    Curve(
        "train/loss",
        "nats",
        _WINDOW + "as its parts below",
        "what the optimiser minimises: all losses, weighted",
        "lower",
    ),
    Curve(
        "train/loss_next_token",
        "nats per token",
        _WINDOW + "all targets of all ranks",
        "next-token cross-entropy",
        "lower",
    ),
    Curve(
        "train/loss_mtp_{depth}",
        "nats per token",
        _WINDOW + "the targets that have a token so far ahead",
        "cross-entropy of the MTP module at this depth, before its weight",
        "lower",
    ),
    Curve(
        "train/divergence",
        "nats per token",
        _WINDOW + "all targets of all ranks",
        "τ² times the divergence between teacher and student, before its weight",
        "lower",
    ),
    Curve(
        "train/balance_loss",
        "nats",
        _WINDOW + "all sequences; summed over the mixture layers",
        "all auxiliary balance losses, weighted",
    ),
    Curve(
        "train/bits_per_byte", "bits per byte", "the UTF-8 bytes of the targets", "next-token loss by bytes", "lower"
    ),
    Curve("train/lr", "per step", "none: the last step", "learning rate after its schedule"),
    Curve("train/mtp_weight", "factor", "none: the last step", "λ of the MTP losses after its schedule"),
    Curve("train/grad_norm", "L2 norm", "the steps since the last row", "global gradient norm before clipping"),
    Curve("train/tokens", "tokens", "none: cumulative, all ranks", "targets trained on since the run began"),
    Curve(
        "val/loss",
        "nats per token (or pair)",
        "all targets (or pairs) of the validation batches",
        "next-token cross-entropy; where a stage learns from pairs, its loss of a pair",
        "lower",
    ),
    Curve(
        "sft/token_accuracy",
        "share",
        "the assistant's tokens of the validation batches",
        "how often the assistant's next token is the model's first choice",
        "higher",
    ),
    Curve(
        "rewards/chosen",
        "reward",
        _WINDOW + "all pairs of all ranks",
        "reward of the preferred answer (DPO: β times the log-ratio to the reference)",
        "",
    ),
    Curve("rewards/rejected", "reward", _WINDOW + "all pairs of all ranks", "reward of the other answer", ""),
    Curve(
        "rewards/margins",
        "reward",
        _WINDOW + "all pairs of all ranks",
        "reward of the preferred answer over the other's",
        "higher",
    ),
    Curve(
        "val/rewards/margins",
        "reward",
        "all pairs of the validation batches",
        "reward of the preferred answer over the other's",
        "higher",
    ),
    Curve(
        "rewards/accuracies",
        "share",
        _WINDOW + "all pairs of all ranks",
        "how often the preferred answer has the higher reward",
        "higher",
    ),
    Curve(
        "val/rewards/accuracies",
        "share",
        "all pairs of the validation batches",
        "how often the preferred answer has the higher reward",
        "higher",
    ),
    Curve(
        "logps/chosen",
        "nats",
        _WINDOW + "all pairs of all ranks",
        "log-probability of the preferred answer, all its tokens",
        "",
    ),
    Curve(
        "logps/rejected",
        "nats",
        _WINDOW + "all pairs of all ranks",
        "log-probability of the other answer, all its tokens",
        "",
    ),
    Curve("val/perplexity", "tokens", "as val/loss", "exp(val/loss)", "lower"),
    Curve(
        "val/bits_per_byte",
        "bits per byte",
        "the UTF-8 bytes of the targets",
        "val/loss, free of the tokenizer",
        "lower",
    ),
    Curve(
        "val/{source}/bits_per_byte",
        "bits per byte",
        "the UTF-8 bytes of the targets from one corpus of a mixture",
        "val/bits_per_byte of that corpus alone",
        "lower",
    ),
    Curve(
        "mtp/acceptance_{depth}",
        "share",
        "the drafts of the validation batches that stay within a document",
        "how often the MTP module at this depth drafts the main model's own greedy token",
        "higher",
    ),
    Curve(
        "perf/tokens_per_second",
        "tokens per second",
        "the seconds since the last row, without validation and checkpoints",
        "training speed, all ranks",
        "higher",
    ),
    Curve("perf/seconds", "seconds", "none: cumulative", "training so far, without validation and checkpoints"),
    Curve("perf/mfu", "share", "the peak of all devices", "model FLOP/s over the hardware's peak FLOP/s", "higher"),
    Curve("perf/memory_bytes", "bytes", "rank 0", "peak allocated on the GPU; on a CPU, resident now", "lower"),
    Curve(
        "moe/layer_{layer}/load",
        "share (histogram over experts)",
        "all assignments of the layer in the last step, all ranks",
        "how often each expert was chosen; 1/E is even",
    ),
    Curve(
        "moe/load_max_over_mean",
        "factor",
        "the mean load; mean over layers, last step, all ranks",
        "load of the busiest expert (MaxVio = this - 1)",
        "lower",
    ),
    Curve(
        "moe/load_entropy",
        "share",
        "ln E; mean over layers, last step, all ranks",
        "entropy of the load; 1 is even, 0 is one expert",
        "higher",
    ),
    Curve(
        "fp8/{operand}/underflow_share",
        "share",
        "the non-zero numbers of all quantised operands of the kind in the step, rank 0",
        "how many of them quantisation made zero",
    ),
    Curve("fp8/{operand}/amax", "largest magnitude", "none: one step, rank 0", "the largest number of the kind"),
    Curve(
        "fp8/{operand}/scale",
        "share (histogram over powers of two)",
        "the scales of the kind in the step, rank 0",
        "which power of two a scale lies at or just above",
    ),
    Curve(
        "fp8/relative_error",
        "share",
        "the norm of the same product of bf16 numbers; one step, rank 0",
        "distance of the middle linear's result from that of bf16",
    ),
    Curve("moe/bias_norm", "L2 norm", "mean over layers, after the last step", "selection bias of the routers"),
)


@functools.cache
def _pattern(name: str) -> re.Pattern[str]:
    words = re.sub(r"\\\{(source|operand)\\\}", "[a-z][a-z0-9_]*", re.escape(name))
    return re.compile(re.sub(r"\\\{\w+\\\}", r"\\d+", words))


@functools.cache
def describe(name: str) -> Curve:
    """The row of the table for `name` (`train/loss_mtp_2` finds `train/loss_mtp_{depth}`).

    Raises KeyError with the nearest name when the table has no such row.
    """
    for curve in CURVES:
        if _pattern(curve.name).fullmatch(name):
            return curve
    raise KeyError(f"no curve '{name}' in metrics.py{nearest(name, [c.name for c in CURVES])}")


@runtime_checkable
class CurveLogger(Protocol):
    """What a stage asks of a logger beyond Lightning's `log_metrics(values, step)` and `save()`."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Values of one step; several calls of one step add up to one row."""

    def log_histogram(self, name: str, heights: Sequence[float], step: int, first: int = 0) -> None:
        """One bar an index, from `first` on."""

    def log_text(self, name: str, text: str, step: int) -> None:
        """A text of this step."""

    def sync(self) -> None:
        """Everything logged so far reaches the disk."""
