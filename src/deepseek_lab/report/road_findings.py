"""What a road shows, in sentences: whether each step that is compared rose, and whether answers grew longer.

A rise is called one only where the interval excludes zero; a fall is said as plainly.
"""

from collections.abc import Iterator
from statistics import fmean

from deepseek_lab.report.intervals import paired_interval
from deepseek_lab.report.proportions import bootstrap_difference
from deepseek_lab.report.road import Road, RoadStep
from deepseek_lab.report.road_figures import LENGTH
from deepseek_lab.report.road_tables import difference, points


def findings(road: Road, test: str) -> Iterator[str]:
    """A sentence a comparison, then one a stage of reinforcement learning."""
    for name, others in road.compare.items():
        for other in others:
            yield from _compared(road, test, name, other)
    for step in road.of_seed(road.seeds[0]):
        if step.learns_from_rewards:
            yield from _grown(step)


def _compared(road: Road, test: str, name: str, other: str) -> Iterator[str]:
    each = []
    for seed in road.seeds:
        try:
            ours, theirs = (road.step(one, seed).tests[test] for one in (name, other))
        except KeyError:
            continue
        if [row["question"] for row in ours.rows] == [row["question"] for row in theirs.rows]:
            each.append(difference(ours.pass_at(1), theirs.pass_at(1)))
    if not each:
        return
    mean = fmean(map(fmean, each))
    if len(each) > 1:
        interval = paired_interval([fmean(one) for one in each])
        low, high, kind = interval.low, interval.high, f"t over {len(each)} seeds"
    else:
        low, high, kind = *bootstrap_difference(each[0]), "bootstrap over questions"
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
    yield (
        f"`{name}` is {verdict} `{other}` at {test}: {points(mean)} points of pass@1 "
        f"({points(low)} to {points(high)}, {kind})."
    )


def _grown(step: RoadStep) -> Iterator[str]:
    lengths = [value for _, value in step.curve(LENGTH)]
    if len(lengths) < 4:
        return
    tenth = max(1, len(lengths) // 10)
    before, after = fmean(lengths[:tenth]), fmean(lengths[-tenth:])
    word = "grew" if after > 1.05 * before else "shrank" if after < 0.95 * before else "kept their length"
    yield f"Answers of `{step.name}` {word}: {before:.1f} tokens in the first tenth, {after:.1f} in the last."
