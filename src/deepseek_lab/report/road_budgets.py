"""The table of ways to learn from one start: each arm at its chosen rate, at equal cost and at its end.

Equal is first what was drawn (tokens), then what was computed (FLOPs of training and drawing, `pipeline.costs`): each
arm is measured at its last checkpoint that had cost no more than the budget. Wall time stands beside and is not made
equal. An arm that had cost less at its end, or more before its first step, has what it had cost behind its figure.
"""

from collections.abc import Sequence
from statistics import fmean

from deepseek_lab.report.document import Cells
from deepseek_lab.report.road import Measured, Road
from deepseek_lab.report.road_arms import Arm, arms
from deepseek_lab.report.road_spending import apart
from deepseek_lab.report.road_tables import NOTHING, share

NEAR = 0.1
"""How far below a budget a checkpoint may lie, as a share of it, and still count as at it."""


def budgets(road: Road, test: str) -> Cells | None:
    """A row an arm whose rate is chosen; None for a road without tests at an equal cost."""
    rows = [_row(road, arm, arm.chosen, test) for arm in arms(road) if arm.chosen]
    if not road.budgets or not rows:
        return None
    equal = [f"pass@1 % at {most:.2g} {_unit(kind)}" for kind, most in road.budgets.values()]
    heads = ("arm", "chosen", *equal, "pass@1 % at its end", "tokens drawn", "FLOPs", "minutes")
    starts = dict.fromkeys(step.start for arm in arms(road) for step in road.steps if step.name == arm.chosen)
    before = [_start(road, start, test) for start in starts if start and road.measured(start, test)]
    return Cells(heads=heads, rows=(*before, *rows), n_words=2)


def _start(road: Road, start: str, test: str) -> tuple[str, ...]:
    """The model that the arms start from, which none of their cost has gone into."""
    value = share(road.measured(start, test), lambda one: one.pass_at(1))
    return ("(start)", start, *[NOTHING] * len(road.budgets), value, *[NOTHING] * 3)


def _unit(kind: str) -> str:
    return "tokens drawn" if kind == "tokens" else "FLOPs"


def _row(road: Road, arm: Arm, chosen: str, test: str) -> tuple[str, ...]:
    start = next(step.start for step in road.steps if step.name == chosen)
    own = [step for step in road.steps if step.name in _made_from(road, chosen, start)]
    flops = apart(road, chosen, start) if start else None
    found = road.measured(chosen, test)
    n_seeds = max(1, len({step.seed for step in own}))
    return (
        arm.name,
        chosen,
        *(_at(road.measured(chosen, one), *budget) for one, budget in road.budgets.items()),
        share(found, lambda one: one.pass_at(1)) if found else NOTHING,
        f"{sum(step.tokens_drawn or 0.0 for step in own) / n_seeds:.2e}",
        f"{flops:.2e}" if flops else NOTHING,
        f"{sum(step.seconds for step in own) / 60 / n_seeds:.1f}",
    )


def _made_from(road: Road, name: str, start: str | None) -> set[str]:
    """The step and those it read, but the one it started from."""
    reads = {one for step in road.steps if step.name == name for one in step.reads or ()}
    return {name} | reads - {start}


def _at(found: Sequence[Measured], kind: str, most: float) -> str:
    """pass@1 with its interval, and what had been spent where that is not the budget."""
    if not found:
        return NOTHING
    text = share(found, lambda one: one.pass_at(1))
    spent = [one.spent[kind] for one in found if kind in one.spent]
    if spent and not (1 - NEAR) * most <= fmean(spent) <= most:
        return f"{text} at {fmean(spent):.2g}"
    return text


def caption(road: Road, test: str) -> str:
    """How to read the table."""
    seeds = f"{len(road.seeds)} seeds" if len(road.seeds) > 1 else "one seed"
    return (
        "One start, each arm at the learning rate that `tuning`, questions of another split, chose among its three; "
        f"figures are means over {seeds} with 95% intervals. First at equal numbers of generated tokens, then at equal "
        "FLOPs (training and generation), each at the last checkpoint that had cost no more; then at the end, on the "
        f"questions of {test}, with the tokens, FLOPs and minutes up to there. Wall time is not made equal. What a "
        "column's budget does not fit has what was spent behind it."
    )
