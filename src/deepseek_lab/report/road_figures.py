"""The figures of a road: what every step can do, and how answers change while reinforcement learning goes on.

Left out: a figure for what was not recorded. Curves are those of the first seed; the tables hold the others.
"""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from deepseek_lab.report.document import Picture
from deepseek_lab.report.drawing import DASHES, GREY, MARKERS, OKABE_ITO, new_figure, picture, plain_axes
from deepseek_lab.report.proportions import bootstrap
from deepseek_lab.report.road import Measured, Road, RoadStep
from deepseek_lab.report.road_tables import over_seeds

PARTS = "rewards/"
LENGTH, THINKING = "completions/mean_length", "completions/think_ratio"


def road_figures(road: Road) -> Iterator[Picture]:
    """All that there is something to draw for."""
    for test in road.tests:
        names = [name for name in road.names if road.measured(name, test)]
        if names:
            yield _scores(road, test, names)
    learners = [step for step in road.of_seed(road.seeds[0]) if step.learns_from_rewards]
    if learners:
        yield _lengths(learners)
    for step in learners:
        if any(step.curve(name) for name in _parts(step)):
            yield _rewards(step)


def _scores(road: Road, test: str, names: Sequence[str]) -> Picture:
    """pass@1 and pass@k of every step, with intervals; controls are grey."""
    figure = new_figure(1.6 + 0.42 * len(names))
    panel = figure.subplots()
    places = range(len(names))
    for place, name in zip(places, names, strict=True):
        found = road.measured(name, test)
        control = next(step.control for step in road.steps if step.name == name)
        _score(panel, place, found, 1, GREY if control else OKABE_ITO[0])
        _score(panel, place, found, min(one.k for one in found), GREY if control else OKABE_ITO[1])
    panel.set_yticks(list(places), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_xlim(0, 101.5)
    plain_axes(panel, "questions solved (%)", "")
    k = min(one.k for one in road.measured(names[0], test))
    for colour, form, label in ((OKABE_ITO[0], "o", "pass@1"), (OKABE_ITO[1], "s", f"pass@{k}")):
        panel.plot([], [], form, color=colour, markersize=6, label=label)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    caption = (
        f"{test}: pass@1 (circles) and pass@{k} (squares) with 95% intervals; controls are grey. {road.tests[test]}"
    )
    return picture(figure, f"scores_{test}", f"What each step solves: {test}", caption.strip())


def _score(panel: Any, place: int, found: Sequence[Measured], k: int, colour: str) -> None:
    each = [one.pass_at(k) for one in found]
    means = [fmean(one) for one in each]
    low, high = over_seeds(means) if len(means) > 1 else bootstrap(each[0])
    value = fmean(means)
    arms = [[100 * max(0.0, value - low)], [100 * max(0.0, high - value)]]
    form = "o" if k == 1 else "s"
    panel.errorbar([100 * value], [place], xerr=arms, fmt=form, color=colour, markersize=6, capsize=3, linewidth=1.4)


def _lengths(learners: Sequence[RoadStep]) -> Picture:
    """Length of answers, and the share with a thought, over the iterations of each stage."""
    figure = new_figure(5.4)
    above, below = figure.subplots(2, 1, sharex=True)
    for place, step in enumerate(learners):
        look = _look(place)
        for panel, name, factor in ((above, LENGTH, 1.0), (below, THINKING, 100.0)):
            curve = smoothed(step.curve(name))
            if curve:
                panel.plot(*_columns(curve, factor), label=step.name if panel is above else None, **look)
    plain_axes(above, "", "tokens of an answer")
    plain_axes(below, "iteration", "answers with a thought (%)")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    caption = "Mean length of the answers drawn, and the share of them with a thought. Neither is rewarded."
    return picture(figure, "lengths", "How long answers get", caption)


def _rewards(step: RoadStep) -> Picture:
    """The parts of the reward over the iterations of one stage."""
    figure = new_figure(3.8)
    panel = figure.subplots()
    for place, name in enumerate(_parts(step)):
        curve = smoothed(step.curve(name))
        label = name.removeprefix(PARTS).removesuffix("/mean")
        panel.plot(*_columns(curve, 1.0), label=label, **_look(place))
    plain_axes(panel, "iteration", "mean over answers")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=10)
    caption = f"{step.name}: the parts of the verdicts, each unweighted; not every part is rewarded."
    return picture(figure, f"rewards_{step.name}", f"Parts of the reward: {step.name}", caption)


def _parts(step: RoadStep) -> list[str]:
    names = {key for row in step.curves for key in row if key.startswith(PARTS) and key.endswith("/mean")}
    return sorted(name for name in names if step.curve(name))


def smoothed(curve: Sequence[tuple[int, float]], at_most: int = 40) -> list[tuple[float, float]]:
    """Means of neighbouring points, so that `at_most` are left."""
    size = -(-len(curve) // at_most)
    parts = [curve[start : start + size] for start in range(0, len(curve), size or 1)]
    return [(fmean(step for step, _ in part), fmean(value for _, value in part)) for part in parts]


def _columns(curve: Sequence[tuple[float, float]], factor: float) -> tuple[list[float], list[float]]:
    return [step for step, _ in curve], [value * factor for _, value in curve]


def _look(place: int) -> dict[str, Any]:
    return {
        "color": OKABE_ITO[place % len(OKABE_ITO)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": DASHES[place % len(DASHES)],
        "markersize": 3.5,
        "linewidth": 1.4,
    }
