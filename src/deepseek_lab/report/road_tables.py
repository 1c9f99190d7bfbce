"""The tables of a road: what every step can do, what it gained over others, and what it cost.

One seed has intervals by bootstrap over questions (Wilson's for majorities); several have the mean over seeds with
the t interval, which is the wider one: it also holds how much a second road would differ.
"""

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

from deepseek_lab.report.document import Cells
from deepseek_lab.report.intervals import paired_interval
from deepseek_lab.report.proportions import bootstrap, bootstrap_difference, wilson
from deepseek_lab.report.road import Measured, Road, RoadStep

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


def gains(road: Road, test: str) -> Cells | None:
    """Differences in points, question by question; None where nothing can be compared."""
    rows = []
    for name, others in road.compare.items():
        rows += [row for other in others if (row := _gain(road, test, name, other))]
    heads = ("", "pass@1", "each seed", "t over seeds", "pass@k")
    return Cells(heads=heads, rows=tuple(rows)) if rows else None


def _gain(road: Road, test: str, name: str, other: str) -> tuple[str, ...] | None:
    pairs = [pair for seed in road.seeds if (pair := _pair(road, test, name, other, seed))]
    if not pairs:
        return None
    first = [difference(a.pass_at(1), b.pass_at(1)) for a, b in pairs]
    several = [difference(a.pass_at(a.k), b.pass_at(b.k)) for a, b in pairs]
    means = [fmean(one) for one in first]
    return (
        f"{name} minus {other}",
        points(fmean(means)),
        ", ".join(f"{points(fmean(one))} ({_between(bootstrap_difference(one))})" for one in first),
        _t_interval(means),
        f"{points(fmean(map(fmean, several)))} ({_between(bootstrap_difference(several[0]))})",
    )


def _t_interval(means: Sequence[float]) -> str:
    if len(means) < 2:
        return NOTHING
    interval = paired_interval(means)
    return _between((interval.low, interval.high))


def _pair(road: Road, test: str, name: str, other: str, seed: int) -> tuple[Measured, Measured] | None:
    """Both steps' measurements of one seed, on the same questions."""
    try:
        ours, theirs = (road.step(one, seed).tests[test] for one in (name, other))
    except KeyError:
        return None
    same = [row["question"] for row in ours.rows] == [row["question"] for row in theirs.rows]
    return (ours, theirs) if same else None


def difference(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """One value a question."""
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def points(value: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * value:+.1f}"


def _between(interval: Interval) -> str:
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
