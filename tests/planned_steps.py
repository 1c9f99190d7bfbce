"""Steps of a pipeline as its tests plan them: a folder, what it needs, the values of a recipe's step."""

from pathlib import Path
from typing import Any

from deepseek_lab.pipeline.planned import PlannedStep
from deepseek_lab.pipeline.recipe import Step


def planned_step(folder: Path, needs: tuple[PlannedStep, ...] = (), budget: Any = None, **values: Any) -> PlannedStep:
    """A step of seed 1 in `folder`; with a budget a test of it."""
    step = Step(**values)
    return PlannedStep(
        key=folder.name,
        name=folder.name,
        test="test" if budget else None,
        seed=1,
        step=step,
        what="",
        minutes=1.0,
        script=step.script,
        overrides=(),
        folder=folder,
        needs=needs,
        budget=budget,
    )
