"""What a road shows, in sentences: whether each step that is compared rose, and whether answers grew longer.

A rise is called one only where every interval excludes zero; a fall is said as plainly. Where both steps have taken
several tests of the test split, the sentence is about all their questions together.
"""

from collections.abc import Iterator
from statistics import fmean

from deepseek_lab.report.road import Road, RoadStep
from deepseek_lab.report.road_arms import choices, compared_pairs
from deepseek_lab.report.road_comparison import Comparison, Difference, compared, joined_tests
from deepseek_lab.report.road_figures import LENGTH
from deepseek_lab.report.road_spending import falls, ratios
from deepseek_lab.report.road_tables import between, points

TIMEOUTS = "sampling/timeouts"


def findings(road: Road, test: str) -> Iterator[str]:
    """Which rates count, a sentence a comparison, what each cost, then one a stage of reinforcement learning."""
    yield from choices(road)
    for name, other in compared_pairs(road):
        joined = joined_tests(road, name, other)
        found = compared(road, joined if test in joined else [test], name, other)
        if found is not None:
            yield said(found)
    yield from ratios(road)
    yield from falls(road)
    for step in road.of_seed(road.seeds[0]):
        if step.learns_from_rewards:
            yield from _grown(step)
    for step in road.steps:
        late = max((value for _, value in step.curve(TIMEOUTS)), default=0)
        if late:
            yield f"`{step.name}` of seed {step.seed} is not reproducible: a clock decided {late:.0f} verdicts."


def said(found: Comparison) -> str:
    """One comparison as a sentence or two."""
    where = f"{' and '.join(found.tests)} ({found.n_questions:,} questions)"
    text = (
        f"`{found.name}` is {found.verdict} `{found.other}` at {where}: {points(found.first.mean)} points of pass@1, "
        f"{_sure(found.first)}"
    )
    if len(found.seeds) > 1:
        text += f"; seed by seed {', '.join(map(points, found.first.means))}: {_signs(found.first.means)}"
    if found.k == 1:
        return f"{text}."
    several = found.several
    return (
        f"{text}. pass@{found.k} changes by {points(several.mean)}, {_sure(several)}: "
        f"not below {points(several.lowest)}."
    )


def _sure(found: Difference) -> str:
    """Both intervals."""
    text = f"{between(found.over_questions)} by paired bootstrap over questions"
    seeds = found.over_seeds
    return text if seeds is None else f"{text}, {between(seeds)} by t over {len(found.of_seed)} seeds"


def _signs(means: list[float]) -> str:
    if all(mean > 0 for mean in means):
        return "every seed is positive"
    return "every seed is negative" if all(mean < 0 for mean in means) else "not every seed has the same sign"


def _grown(step: RoadStep) -> Iterator[str]:
    lengths = [value for _, value in step.curve(LENGTH)]
    if len(lengths) < 4:
        return
    tenth = max(1, len(lengths) // 10)
    before, after = fmean(lengths[:tenth]), fmean(lengths[-tenth:])
    word = "grew" if after > 1.05 * before else "shrank" if after < 0.95 * before else "kept their length"
    yield f"Answers of `{step.name}` {word}: {before:.1f} tokens in the first tenth, {after:.1f} in the last."
