"""Arms: one thing tried at three learning rates, of which a report shows the best.

A recipe names such steps `<arm>_low`, `<arm>_mid` and `<arm>_high`. Which of them counts, the test `tuning` says alone:
what is then reported comes from other questions, so that three tries are no three chances. One choice holds for all
seeds. Until every try has been measured there is none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from deepseek_lab.report.road import Road

TUNING = "tuning"
RATES = ("low", "mid", "high")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """scores: mean pass@1 over the seeds at `tuning`, of each step that is measured in all of them."""

    name: str
    members: tuple[str, ...]
    scores: dict[str, float]

    @property
    def chosen(self) -> str | None:
        """The best, the first of equals; None while one is missing."""
        if len(self.scores) < len(self.members):
            return None
        return max(self.members, key=lambda member: self.scores[member])


def arms(road: Road) -> list[Arm]:
    """Those with two rates at least, in the order of their steps."""
    found: dict[str, list[str]] = {}
    for name in road.names:
        arm, _, rate = name.rpartition("_")
        if arm and rate in RATES:
            found.setdefault(arm, []).append(name)
    return [
        Arm(name=arm, members=tuple(members), scores=_scores(road, members))
        for arm, members in found.items()
        if len(members) > 1
    ]


def _scores(road: Road, members: list[str]) -> dict[str, float]:
    measured = {member: road.measured(member, TUNING) for member in members}
    whole = {member: found for member, found in measured.items() if len(found) == len(road.seeds)}
    return {member: fmean(fmean(one.pass_at(1)) for one in found) for member, found in whole.items()}


def compared_pairs(road: Road) -> Iterator[tuple[str, str]]:
    """The steps that are held against each other, without those that their arm did not choose."""
    passed_over = {member for arm in arms(road) if arm.chosen for member in arm.members if member != arm.chosen}
    for name, others in road.compare.items():
        yield from ((name, other) for other in others if not {name, other} & passed_over)


def choices(road: Road) -> Iterator[str]:
    """A sentence an arm."""
    for arm in arms(road):
        if arm.chosen is None:
            yield f"No rate of `{arm.name}` is chosen yet: not all of {_listed(arm.members)} have taken `{TUNING}`."
            continue
        scores = ", ".join(f"{100 * arm.scores[member]:.1f}%" for member in arm.members)
        yield f"The best of {_listed(arm.members)} by `{TUNING}` is `{arm.chosen}` ({scores} of pass@1 there)."


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)
