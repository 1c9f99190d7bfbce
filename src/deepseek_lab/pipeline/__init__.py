"""Recipes: stages in a row, each a process of its own, where the same command again goes on where it stopped."""

from omegaconf import DictConfig


def check(cfg: DictConfig) -> None:
    """Raises ConfigError for a recipe that cannot run; see `pipeline.checking`."""
    from deepseek_lab.pipeline.checking import check as check_recipe

    check_recipe(cfg)


def run(cfg: DictConfig) -> None:
    """Runs what is not finished of a recipe, and writes its report; see `pipeline.running`."""
    from deepseek_lab.pipeline.running import run as run_recipe

    run_recipe(cfg)
