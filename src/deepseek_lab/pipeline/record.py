"""`road.json` in a pipeline's folder: its steps, what each took and cost. All that a report needs beside their folders.

Written anew after every step, so that the report of a road that is still being walked can be asked for. Folders are
named relative to it: the whole may be moved.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.pipeline import attempts
from deepseek_lab.pipeline.costs import drawn_by, flops_of
from deepseek_lab.pipeline.planned import PlannedStep
from deepseek_lab.pipeline.recipe import Recipe

FILE = "road.json"


def write_record(recipe: Recipe, steps: Sequence[PlannedStep], root: Path) -> None:
    """Notes where all steps stand."""
    content = {
        "title": recipe.config.title,
        "seeds": list(recipe.config.seeds),
        "compare": recipe.compare,
        "tests": {name: test.what for name, test in recipe.tests.items()},
        "budgets": {name: list(test.budget) for name, test in recipe.tests.items() if test.budget},
        "steps": [_row(step, root) for step in steps],
    }
    write_text_atomically(root / FILE, json.dumps(content, indent=1) + "\n")


def _row(step: PlannedStep, root: Path) -> dict[str, Any]:
    return {
        "name": step.name,
        "test": step.test,
        "seed": step.seed,
        "script": step.script,
        "what": step.what,
        "control": step.step.control,
        "folder": str(step.folder.relative_to(root)),
        "start": step.step.start if step.test is None else None,
        "reads": step.step.reads if step.test is None else [],
        "done": step.job.finished,
        "planned_minutes": step.minutes,
        "seconds": attempts.seconds(step.folder),
        "attempts": attempts.count(step.folder),
        "flops": flops_of(step),
        "tokens_drawn": drawn_by(step) if step.test is None else 0.0,
    }
