"""The tables of a road: what every step can do, what it gained over others, and what it cost.

One seed has intervals by bootstrap over questions (Wilson's for majorities); several have the mean over seeds with
the t interval, which is the wider one: it also holds how much a second road would differ. Differences have both.
"""

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

from deepseek_lab.report.document import Cells
from deepseek_lab.report.intervals import paired_interval
from deepseek_lab.report.proportions import bootstrap, wilson
from deepseek_lab.report.road import Measured, Road, RoadStep
from deepseek_lab.report.road_arms import compared_pairs
from deepseek_lab.report.road_comparison import Comparison, Difference, compared

Interval = tuple[float, float]
NOTHING = "–"


def percent(value: float) -> str:
    """A share in per cent, one digit behind the point."""
    return f"{100 * value:.1f}"


def with_interval(value: float, interval: Interval) -> str:
    """`62.0 (58.1–65.9)`."""
    return f"{percent(value)} ({percent(interval[0])}–{percent(interval[1])})"


def over_seeds(values: Sequence[float]) -> Interval:
    """The t interval of a mean over seeds, inside 0 and 1."""
    interval = paired_interval(values)
    return max(0.0, interval.low), min(1.0, interval.high)


def share(found: Sequence[Measured], values: Callable[[Measured], list[float]], majority: bool = False) -> str:
    """The mean of a value a question, with its interval."""
    each = [values(one) for one in found]
    means = [fmean(one) for one in each]
    if len(means) > 1:
        return with_interval(fmean(means), over_seeds(means))
    interval = wilson(sum(each[0]), len(each[0])) if majority else bootstrap(each[0])
    return with_interval(means[0], interval)


def results(road: Road, test: str) -> Cells:
    """What each step makes of one test."""
    k = max(one.k for name in road.names for one in road.measured(name, test))
    heads = ("step", "", "pass@1 %", f"pass@{k} %", f"maj@{k} %", "tokens", "thinks %")
    rows = tuple(_result(road, name, test, k) for name in road.names if road.measured(name, test))
    return Cells(heads=heads, rows=rows, n_words=2)


def _result(road: Road, name: str, test: str, k: int) -> tuple[str, ...]:
    found = road.measured(name, test)
    step = next(step for step in road.steps if step.name == name)
    return (
        name,
        step.what,
        share(found, lambda one: one.pass_at(1)),
        share(found, lambda one: one.pass_at(k)),
        share(found, lambda one: one.majority, majority=True),
        f"{fmean(one.mean_length for one in found):.1f}",
        percent(fmean(one.thinks for one in found)),
    )


def by_family(road: Road, test: str) -> Cells | None:
    """pass@1 for each task of a mixture; None where there is no mixture."""
    families = sorted({family for name in road.names for one in road.measured(name, test) for family in one.families})
    if not families:
        return None
    rows = []
    for name in road.names:
        found = road.measured(name, test)
        if found:
            rows.append((name, *(_family(found, family) for family in families)))
    return Cells(heads=("pass@1 %", *families), rows=tuple(rows))


def _family(found: Sequence[Measured], family: str) -> str:
    own = [one.of_family(family) for one in found if family in one.families]
    return share(own, lambda one: one.pass_at(1)) if own else NOTHING


def gains(road: Road, tests: Sequence[str]) -> Cells | None:
    """Differences in points, question by question over some tests as one; None where nothing can be compared."""
    found = [compared(road, tests, *pair) for pair in compared_pairs(road)]
    rows = tuple(_gain(one) for one in found if one is not None)
    heads = ("", "questions", "pass@1", "over questions", "over seeds", "each seed", "pass@k", "over questions")
    return Cells(heads=(*heads, "over seeds"), rows=rows) if rows else None


def _gain(found: Comparison) -> tuple[str, ...]:
    return (
        f"{found.name} minus {found.other}",
        f"{found.n_questions:,}",
        *_with_both(found.first),
        ", ".join(map(points, found.first.means)),
        *_with_both(found.several),
    )


def _with_both(difference: Difference) -> tuple[str, str, str]:
    seeds = difference.over_seeds
    return points(difference.mean), between(difference.over_questions), NOTHING if seeds is None else between(seeds)


def points(value: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * value:+.1f}"


def between(interval: Interval) -> str:
    """`+1.0 to +2.5`."""
    return f"{points(interval[0])} to {points(interval[1])}"


def costs(road: Road) -> Cells:
    """Minutes and FLOPs of every step, those of all seeds together."""
    heads = ("step", "planned min", "taken min", "measuring min", "FLOPs", "starts")
    rows = [_cost(name, [step for step in road.steps if step.name == name]) for name in road.names]
    rows.append(_cost("all", road.steps))
    return Cells(heads=heads, rows=tuple(rows))


def _cost(name: str, steps: Sequence[RoadStep]) -> tuple[str, ...]:
    flops = sum(step.flops for step in steps)
    return (
        name,
        f"{sum(step.planned_minutes for step in steps):.1f}",
        f"{sum(step.seconds for step in steps) / 60:.1f}",
        f"{sum(step.measuring_seconds for step in steps) / 60:.1f}",
        f"{flops:.1e}" if flops else NOTHING,
        str(sum(step.attempts for step in steps)),
    )


def unfinished(road: Road) -> Iterator[str]:
    """The steps that are not done."""
    yield from (step.name for step in road.steps if not step.done)
