"""The steps of a recipe as jobs: folders and command lines, in the order in which they run.

A step's folder carries a hash of its config and of the hashes of all it reads. A step that is changed, in the recipe
or in a file that it names, gets a new folder and runs, and so does what stands behind it; what it had made before
stays, and is found again when the change is taken back.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepseek_lab.advice import quoted
from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.config import ConfigError
from deepseek_lab.pipeline.identity import config_hash
from deepseek_lab.pipeline.recipe import REFERENCE, START_KEY, Measurement, Recipe, Step
from deepseek_lab.sweep.job_process import PlannedJob

PLACE = {"train": "hydra.run.dir", "evaluate": "out", "rejection_sampling": "out"}
"""The override that says where a script writes."""


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A step of one seed, or a test of what it made.

    key: unique in the plan, `zero` or `zero.held_out`, behind `seed2.` where there are several seeds
    test: the name of a measurement, None for the step itself; budget: of a test at an equal cost
    """

    key: str
    name: str
    test: str | None
    seed: int
    step: Step
    what: str
    minutes: float
    script: str
    overrides: tuple[str, ...]
    folder: Path
    needs: tuple["PlannedStep", ...]
    budget: tuple[str, float] | None = None

    @property
    def job(self) -> PlannedJob:
        """The process that makes it."""
        return self.job_with([])

    def job_with(self, more: Sequence[str]) -> PlannedJob:
        """The same with overrides that were not known before."""
        script = str(PROJECT_ROOT / "scripts" / f"{self.script}.py")
        command = [sys.executable, script, *self.overrides, *more, f"{PLACE[self.script]}={quoted(self.folder)}"]
        return PlannedJob(folder=self.folder, command=command)


def planned(recipe: Recipe, root: Path) -> list[PlannedStep]:
    """Every step and its tests, seed by seed; folders below `root`.

    Raises ConfigError, naming the step, for a command line that cannot be composed.
    """
    return [step for seed in recipe.config.seeds for step in _of_seed(recipe, seed, root)]


def _of_seed(recipe: Recipe, seed: int, root: Path) -> Iterator[PlannedStep]:
    several = len(recipe.config.seeds) > 1
    folder, prefix = (root / f"seed{seed}", f"seed{seed}.") if several else (root, "")
    made: dict[str, PlannedStep] = {}
    for name, step in recipe.steps.items():
        common = recipe.config.common if step.script == "train" else []
        overrides = [*step.overrides, *common, *recipe.config.more.get(name, [])]
        made[name] = _planned(name, step, overrides, made, folder, prefix, seed)
        yield made[name]
        for test in step.tests:
            yield _test(test, recipe.tests[test], made[name], folder, prefix)


def _planned(
    name: str,
    step: Step,
    overrides: Sequence[str],
    made: dict[str, PlannedStep],
    folder: Path,
    prefix: str,
    seed: int,
) -> PlannedStep:
    start = [f"{START_KEY[step.script]}={{steps.{step.start}}}"] if step.start else []
    needs = {needed: made[needed] for needed in step.needs}
    lines = [*overrides, *start]
    digest = _digest(prefix + name, step.script, lines, [seed, *step.equal_flops], list(needs.values()))
    folders = {needed: str(one.folder) for needed, one in needs.items()}
    own = [f"seed={seed}"] if step.script == "train" else []
    return PlannedStep(
        key=prefix + name,
        name=name,
        test=None,
        seed=seed,
        step=step,
        what=step.what,
        minutes=step.minutes,
        script=step.script,
        overrides=(*(_filled(line, folders) for line in lines), *own),
        folder=folder / f"{name}-{digest}",
        needs=tuple(needs.values()),
    )


def _filled(override: str, folders: Mapping[str, str]) -> str:
    """An override with the folders of the steps that it names, each quoted; a list stays a list."""
    key, _, value = override.partition("=")
    if not REFERENCE.search(value):
        return override
    words = value[1:-1].split(",") if value.startswith("[") else [value]
    filled = [quoted(REFERENCE.sub(lambda found: folders[found[1]], word.strip(" '"))) for word in words]
    return f"{key}=[{','.join(filled)}]" if value.startswith("[") else f"{key}={filled[0]}"


def _test(name: str, measurement: Measurement, of: PlannedStep, folder: Path, prefix: str) -> PlannedStep:
    lines = [*measurement.overrides, *of.step.test_overrides]
    checkpoint, budget = f"checkpoint={{steps.{of.name}}}", measurement.budget
    more = [] if budget is None else [*budget]
    digest = _digest(f"{prefix}{of.name}.{name}", "evaluate", [*lines, checkpoint], more, [of])
    return PlannedStep(
        key=f"{prefix}{of.name}.{name}",
        name=of.name,
        test=name,
        seed=of.seed,
        step=of.step,
        what=measurement.what,
        minutes=measurement.minutes,
        script="evaluate",
        overrides=(*lines, f"checkpoint={quoted(of.folder)}"),
        folder=folder / f"{of.name}.{name}-{digest}",
        needs=(of,),
        budget=budget,
    )


def _digest(
    key: str, script: str, overrides: Sequence[str], more: Sequence[object], needs: Sequence[PlannedStep]
) -> str:
    """8 hex digits of a config and all that goes into it; steps count by their hashes, wherever they lie."""
    names = {one.name: f"step_{one.name}" for one in needs}
    try:
        config = config_hash(script, tuple(_filled(line, names) for line in overrides))
    except ConfigError as error:
        raise ConfigError(f"{error}", f"step {key}:") from None
    words = json.dumps([script, config, *more, [one.folder.name for one in needs]])
    return hashlib.sha256(words.encode()).hexdigest()[:8]
