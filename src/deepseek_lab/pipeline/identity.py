"""What a command line comes to: a hash of the config that is composed from it.

Not the words are hashed but their result, so an experiment file that was changed makes another step, and the same
config typed in another way makes the same. Left out: the source code, as in a sweep.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from hydra.core.global_hydra import GlobalHydra

from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import check_values
from deepseek_lab.command_line.naming import job_hash


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


@lru_cache(maxsize=1024)
def config_hash(script: str, overrides: tuple[str, ...]) -> str:
    """8 hex digits. Raises ConfigError for a command line that cannot be composed."""
    with composer_of(script) as composer:
        config = composer.compose(overrides)
        check_values(config)
        return job_hash(config)
