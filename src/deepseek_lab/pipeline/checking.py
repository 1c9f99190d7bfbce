"""What can be refused of a recipe before its first step runs: planning composes every command line.

Left out: what needs an earlier step's result (whether a start has the same shape). The step itself refuses that, in
the same one line, when its turn comes.
"""

from pathlib import Path

from omegaconf import DictConfig

from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.leaf import leaf
from deepseek_lab.pipeline.planned import planned
from deepseek_lab.pipeline.recipe import Recipe


def check(cfg: DictConfig) -> None:
    """Raises ConfigError for the first step whose command line cannot be composed, with its name."""
    if cfg.until is not None and cfg.until not in cfg.recipe.steps:
        raise ConfigError(f"must be a step of the recipe or null, not {cfg.until!r}", "until")
    planned(read_recipe(cfg), Path(str(cfg.folder)))


def read_recipe(cfg: DictConfig) -> Recipe:
    """The chosen recipe. Raises ConfigError with the path of the offending key."""
    recipe: Recipe = leaf(cfg, "recipe").build()
    return recipe
