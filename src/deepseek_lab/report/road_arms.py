"""Arms: one thing tried at three learning rates, of which a report shows the best.

A recipe names such steps `<arm>_low`, `<arm>_mid` and `<arm>_high`. Which of them counts, the test `tuning` says alone:
what is then reported comes from other questions, so that three tries are no three chances. One choice holds for all
seeds, and rests on those in which every try has been measured; until there is one, there is none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from deepseek_lab.report.road import Road, RoadStep

TUNING = "tuning"
RATES = ("low", "mid", "high")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """scores: mean pass@1 of each step at `tuning`, over the `seeds` in which all of them are measured."""

    name: str
    members: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: dict[str, float]

    @property
    def chosen(self) -> str | None:
        """The best, the first of equals; None while there is no seed to choose by."""
        if not self.seeds:
            return None
        return max(self.members, key=lambda member: self.scores[member])


def arms(road: Road) -> list[Arm]:
    """Those with two rates at least, in the order of their steps."""
    found: dict[str, list[str]] = {}
    for name in road.names:
        arm, _, rate = name.rpartition("_")
        if arm and rate in RATES:
            found.setdefault(arm, []).append(name)
    return [_arm(road, name, tuple(members)) for name, members in found.items() if len(members) > 1]


def _arm(road: Road, name: str, members: tuple[str, ...]) -> Arm:
    each = {member: {s.seed: s.tests[TUNING] for s in road.steps if _took(s, member)} for member in members}
    seeds = tuple(seed for seed in road.seeds if all(seed in found for found in each.values()))
    scores = {member: fmean(fmean(found[s].pass_at(1)) for s in seeds) for member, found in each.items() if seeds}
    return Arm(name=name, members=members, seeds=seeds, scores=scores)


def _took(step: RoadStep, name: str) -> bool:
    return step.name == name and TUNING in step.tests


def compared_pairs(road: Road) -> Iterator[tuple[str, str]]:
    """The steps that are held against each other, without those that their arm did not choose."""
    passed_over = {member for arm in arms(road) if arm.chosen for member in arm.members if member != arm.chosen}
    for name, others in road.compare.items():
        yield from ((name, other) for other in others if not {name, other} & passed_over)


def choices(road: Road) -> Iterator[str]:
    """A sentence an arm."""
    for arm in arms(road):
        if arm.chosen is None:
            yield f"No rate of `{arm.name}` is chosen yet: in no seed have {_listed(arm.members)} taken `{TUNING}`."
            continue
        scores = ", ".join(f"{100 * arm.scores[member]:.1f}%" for member in arm.members)
        seeds = f"seed {arm.seeds[0]}" if len(arm.seeds) == 1 else f"{len(arm.seeds)} seeds"
        yield f"The best of {_listed(arm.members)} by `{TUNING}` is `{arm.chosen}` ({scores} of pass@1, {seeds})."


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)
