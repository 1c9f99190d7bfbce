"""What can be refused of a recipe before its first step runs: every command line is composed.

Left out: what needs an earlier step's result (whether a start has the same shape). The step itself refuses that, in
the same one line, when its turn comes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import check_values
from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.configs import _leaf
from deepseek_lab.pipeline.planned import PlannedStep, planned
from deepseek_lab.pipeline.recipe import Recipe


def check(cfg: DictConfig) -> None:
    """Raises ConfigError for the first step whose command line cannot be composed, with its name."""
    if cfg.until is not None and cfg.until not in cfg.recipe.steps:
        raise ConfigError(f"must be a step of the recipe or null, not {cfg.until!r}", "until")
    if cfg.n_threads is not None and (not isinstance(cfg.n_threads, int) or cfg.n_threads < 1):
        raise ConfigError(f"must be null or an integer of at least 1, not {cfg.n_threads!r}", "n_threads")
    check_steps(planned(read_recipe(cfg), Path(str(cfg.folder))))


def read_recipe(cfg: DictConfig) -> Recipe:
    """The chosen recipe. Raises ConfigError with the path of the offending key."""
    recipe: Recipe = _leaf(cfg, "recipe").build()
    return recipe


def check_steps(steps: Sequence[PlannedStep]) -> None:
    """Composes each command line once; the steps of other seeds and models differ in values only."""
    seen: set[tuple[str, ...]] = set()
    for script in dict.fromkeys(step.script for step in steps):
        with composer_of(script) as composer:
            for step in (step for step in steps if step.script == script):
                words = tuple(line for line in step.overrides if not line.startswith(("seed=", "checkpoint=")))
                if words not in seen:
                    seen.add(words)
                    _composed(composer, step)


@contextmanager
def composer_of(script: str) -> Iterator[Composer]:
    """Composes command lines of another script while Hydra knows this one: it keeps one at a time."""
    ours = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with Composer(PROJECT_ROOT / "conf", script) as composer:
            yield composer
    finally:
        GlobalHydra.instance().clear()
        if ours is not None:
            GlobalHydra.instance().initialize(ours)


def _composed(composer: Composer, step: PlannedStep) -> None:
    try:
        check_values(composer.compose(step.overrides))
    except ConfigError as error:
        raise ConfigError(f"{error}", f"step {step.key}:") from None
