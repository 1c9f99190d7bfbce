"""What steps that are compared have spent, and whether a base had learnt what there was to learn.

Two steps are compared from where they part: what both were made from counts for neither. So a road's last step has
cost all the stages behind the base, and a control that starts from the base its own training.
"""

from collections.abc import Iterator
from statistics import fmean

import numpy as np

from deepseek_lab.report.road import Road, RoadStep
from deepseek_lab.report.road_arms import compared_pairs

LOSS, BITS, FINE_TUNING = "val/loss", "val/bits_per_byte", "sft/token_accuracy"
LAST = 0.2
"""The part of a training that is looked at."""


def ratios(road: Road) -> Iterator[str]:
    """A sentence for each control that is compared; none where the record does not say what steps were made from."""
    controls = {step.name for step in road.steps if step.control}
    for name, other in compared_pairs(road):
        if not {name, other} & controls:
            continue
        ours, theirs = apart(road, name, other), apart(road, other, name)
        if ours and theirs:
            yield (
                f"From where they part `{other}` cost {theirs:.2e} FLOPs and `{name}` {ours:.2e}: "
                f"{theirs / ours:.2f} times as many, generation counted ({_own(road, other):.2e} and "
                f"{_own(road, name):.2e} in these two steps themselves)."
            )


def _own(road: Road, name: str) -> float:
    """FLOPs of a step alone, the mean over the seeds in which it is done."""
    return fmean(step.flops for step in road.steps if step.name == name and step.done)


def apart(road: Road, name: str, other: str) -> float | None:
    """FLOPs of a step and of all it was made from, without what `other` was made from; the mean over finished seeds."""
    costs = []
    for seed in road.seeds:
        ours, theirs = way(road, name, seed), way(road, other, seed)
        if ours is None or theirs is None:
            return None
        own = [road.step(one, seed) for one in ours - theirs]
        if all(step.done for step in [*own, road.step(other, seed)]):
            costs.append(sum(step.flops for step in own))
    return fmean(costs) if costs else None


def way(road: Road, name: str, seed: int) -> set[str] | None:
    """A step and all that it was made from, step by step back to the first; None where that is not on record."""
    try:
        reads = road.step(name, seed).reads
    except KeyError:
        return None
    if reads is None:
        return None
    before = [way(road, one, seed) for one in reads]
    return {name}.union(*(one for one in before if one))


def falls(road: Road) -> Iterator[str]:
    """For each base how much its held-out loss still fell at the end, seed by seed."""
    bases = [step for step in road.steps if _pretrains(step) and not step.control]
    followed, names = {step.start for step in bases}, dict.fromkeys(step.name for step in bases)
    for name in names:
        each = [fall for seed in road.seeds if (fall := _fall(road, name, seed)) is not None]
        if each and name not in followed:
            listed = ", ".join(f"{100 * one:.2f}%" for one in each)
            yield f"The validation loss of `{name}` fell by {listed} over the last fifth of its training."


def _pretrains(step: RoadStep) -> bool:
    return bool(step.curve(BITS)) and not step.curve(FINE_TUNING)


def _fall(road: Road, name: str, seed: int) -> float | None:
    """As a share of what it was; over all of a training that went on in a second step. None for too few values."""
    curve = _whole_curve(road, name, seed)
    if len(curve) < 2:
        return None
    steps, losses = zip(*curve, strict=True)
    before = float(np.interp(steps[-1] * (1 - LAST), steps, losses))
    return (before - float(losses[-1])) / before


def _whole_curve(road: Road, name: str, seed: int) -> list[tuple[int, float]]:
    """Steps and held-out losses, those of the pretraining that it went on from before them."""
    try:
        step = road.step(name, seed)
    except KeyError:
        return []
    if not step.done or not _pretrains(step):
        return []
    before = _whole_curve(road, step.start, seed) if step.start else []
    first = before[-1][0] if before else 0
    return [*before, *((first + number, value) for number, value in step.curve(LOSS))]
