"""Interleaved timing: A, B, C, then B, C, A, …, so that a machine's drift falls on all alike.

Ratios are taken within a round and their median and range reported, never a ratio of two separate
runs: a shared machine drifts by up to a factor of two. The machine's own best matrix product is measured
between the rounds, as the peak that a step's useful FLOPs are held against.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from deepseek_lab.benchmarking.contestants import Step


@dataclass(frozen=True)
class Timings:
    """Seconds and losses of every contestant's timed steps, in rounds, and the sgemm peak in FLOP/s."""

    seconds: dict[str, list[float]]
    losses: dict[str, list[float]]
    peak_flops: float

    def ratios(self, slower: str, faster: str) -> list[float]:
        """How many times `slower`'s step took `faster`'s, round by round."""
        return [a / b for a, b in zip(self.seconds[slower], self.seconds[faster], strict=True)]

    @property
    def machine(self) -> dict[str, float]:
        """What the machine gave meanwhile, for a later comparison (`against`)."""
        return {"sgemm_2048_gflops": self.peak_flops / 1e9}

    def mfu(self, name: str, flops: float) -> tuple[float, float]:
        """Useful FLOPs a second over the peak: of the median step and of the best."""
        seconds = self.seconds[name]
        return flops / median(seconds) / self.peak_flops, flops / min(seconds) / self.peak_flops


def sgemm_peak(size: int = 2048, repeats: int = 5) -> float:
    """Best fp32 FLOP/s of a square product of `size`, a few times over."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    return max(2 * size**3 / _seconds(lambda: torch.mm(a, b, out=out)) for _ in range(repeats))


def time_interleaved(
    steps: Mapping[str, Step],
    batch: Callable[[int], Tensor],
    rounds: int,
    report: Callable[[str], None] = lambda line: None,
) -> Timings:
    """One untimed step of each contestant, then `rounds` timed ones, the order rotating.

    batch: the tokens of step k, the same for everyone. report: called with one line a round.
    """
    names = list(steps)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    losses = {name: [steps[name](batch(0))] for name in names}
    peak = sgemm_peak()
    for number in range(1, rounds + 1):
        tokens = batch(number)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            losses[name].append(steps[name](tokens))
            seconds[name].append(time.perf_counter() - start)
        peak = max(peak, sgemm_peak())
        report(f"round {number}/{rounds}: " + ", ".join(f"{name} {seconds[name][-1]:.2f} s" for name in names))
    return Timings(seconds, losses, peak)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
