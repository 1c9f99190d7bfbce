"""Fair matching: the one width with which a variant has the size of its baseline.

A size is what a rule compares:
- `params`, `active_params`: parameters without embedding and head, which all variants of a sheet share and
  which would hide a difference in a small network. MTP modules do not count: they are dropped after training;
- `flops`: FLOPs a token of training (`planning.counts`), head and MTP modules included;
- `kv_cache`: numbers that all layers' caches keep for one token.

Every size grows with every width, and nearly always in proportion, so two networks tell where the target lies
and a third confirms it. Left out: solving several widths at once, which has no single answer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.planning.counts import Counts

Rule = Literal["none", "params", "active_params", "flops", "kv_cache"]
WORDS = {
    "params": "parameters without embedding and head",
    "active_params": "active parameters without embedding and head",
    "flops": "FLOPs a token",
    "kv_cache": "cache numbers a token",
}


class Match:
    """`Match.Config(rule="params", …)`: what the jobs of a sweep have in common."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """widths: keys of the shape sheet; the first that a job's network reads is solved.

        multiple: of the width, where one lies within the tolerance. tolerance: the largest share of the target by
        which a job may miss it. baseline: overrides of the job that sets the target, where no ablation names one.
        target: the size itself instead of a baseline's.
        """

        rule: Rule
        widths: list[str]
        multiple: int
        tolerance: float
        baseline: list[str]
        target: int | float | None

        def check(self) -> None:
            self.require_positive("multiple", "target")
            if not 0 <= self.tolerance < 1:
                raise ConfigError(f"must be a share from 0 to under 1, not {self.tolerance}", "tolerance")
            if self.rule != "none" and not self.widths:
                raise ConfigError(f"names no width to solve for {self.rule}", "widths")


UNMATCHED = Match.Config(rule="none", widths=[], multiple=1, tolerance=0.01, baseline=[], target=None)


def size(rule: Rule, counts: Counts, model: Transformer.Config) -> float:
    """What `rule` compares, of one network."""
    tables = model.vocab_size * model.dim * (1 if model.tie_embeddings else 2)
    sizes = {
        "params": counts.total_params - tables,
        "active_params": counts.active_params - tables,
        "flops": counts.flops_per_token,
        "kv_cache": counts.kv_cache_elements_per_token,
    }
    return sizes[rule]


@dataclass(frozen=True)
class Solution:
    """A width and the size that it gives."""

    width: int
    reached: float
    target: float

    @property
    def residual(self) -> float:
        """By which share of the target the size misses it; positive: too large."""
        return self.reached / self.target - 1


def solve(
    size_of: Callable[[int], float], start: int, target: float, multiple: int = 1, tolerance: float = 0.01
) -> Solution:
    """The width whose size is nearest to `target`: a multiple of `multiple` where one lies within the tolerance.

    size_of: the size at a width; grows with it and raises ConfigError for a width that cannot be built.
    start: a width that can. Raises ConfigError when no width comes near enough.
    """
    there = _crossing(size_of, start, target, multiple)
    tried = [_nearest(size_of, there, step, target) for step in sorted({multiple, 1}, reverse=True)]
    found = [solution for solution in tried if solution is not None]
    for solution in found:
        if abs(solution.residual) <= tolerance:
            return solution
    if not found:
        raise ConfigError(f"would have to be {there:.4g}, and no whole number beside it can be built")
    best = min(found, key=lambda solution: abs(solution.residual))
    raise ConfigError(f"= {best.width} comes nearest, and is {best.residual:+.2%} off the target {target:,.0f}")


def _crossing(size_of: Callable[[int], float], start: int, target: float, multiple: int, most: int = 24) -> float:
    """The width, not rounded, at which the size is the target; by secants through multiples of `multiple`."""
    near, far = (start, size_of(start)), _another(size_of, start)
    there = float(start)
    for _ in range(most):
        slope = (far[1] - near[1]) / (far[0] - near[0])
        if slope <= 0:
            raise ConfigError("changes nothing of what is matched")
        there = near[0] + (target - near[1]) / slope
        width = max(1, round(there / multiple)) * multiple
        if width in (near[0], far[0]):
            break
        try:
            near, far = (width, size_of(width)), near
        except ConfigError:
            break
    return there


def _another(size_of: Callable[[int], float], start: int) -> tuple[int, float]:
    """A second width that can be built, and its size."""
    for width in (2 * start, start // 2):
        try:
            return width, size_of(width)
        except ConfigError as error:
            refusal = error
    raise refusal


def _nearest(size_of: Callable[[int], float], there: float, step: int, target: float) -> Solution | None:
    """The better of the multiples of `step` on both sides of `there`, or None where neither can be built."""

    def built() -> Iterator[Solution]:
        below = max(step, int(there // step) * step)
        for width in (below, below + step):
            try:
                yield Solution(width, size_of(width), target)
            except ConfigError:
                continue

    return min(built(), key=lambda solution: abs(solution.residual), default=None)
