"""The table of a recipe's steps with the minutes each is planned to take, and has taken."""

from collections.abc import Sequence

from rich.table import Table

from deepseek_lab.pipeline import attempts
from deepseek_lab.pipeline.planned import PlannedStep


def minutes_table(title: str, steps: Sequence[PlannedStep]) -> Table:
    """A row a step; measurements that follow it are in one row with it, in columns of their own."""
    table = Table("", "step", "planned", "measuring", "taken", title=title, title_justify="left")
    for step in steps:
        if step.test is None:
            tests = [one for one in steps if one.test and one.needs == (step,)]
            rows = [step, *tests]
            table.add_row(
                "done" if all(one.job.finished for one in rows) else "",
                f"{step.key}  [dim]{step.what}[/dim]" if step.what else step.key,
                f"{step.minutes:.1f}",
                f"{sum(one.minutes for one in tests):.1f}" if tests else "",
                taken(rows),
            )
    table.add_section()
    measuring = sum(step.minutes for step in steps if is_measuring(step))
    own = sum(step.minutes for step in steps) - measuring
    share = measuring / max(own + measuring, 1e-9)
    table.add_row("", "minutes on two cores", f"{own:.1f}", f"{measuring:.1f} ({share:.0%})", taken(steps))
    return table


def is_measuring(step: PlannedStep) -> bool:
    """Whether it only evaluates."""
    return step.script == "evaluate"


def taken(steps: Sequence[PlannedStep]) -> str:
    """Minutes of all attempts of these; empty before the first."""
    seconds = sum(attempts.seconds(step.folder) for step in steps)
    return f"{seconds / 60:.1f}" if seconds else ""
