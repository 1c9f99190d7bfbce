"""What a command line comes to: a hash of the config that is composed from it.

Not the words are hashed but their result, so an experiment file that was changed makes another step, and the same
config typed in another way makes the same. Left out: the source code, as in a sweep.
"""

from functools import lru_cache

from deepseek_lab.command_line.composition import composer_of
from deepseek_lab.command_line.jobs import check_values
from deepseek_lab.command_line.naming import job_hash


@lru_cache(maxsize=1024)
def config_hash(script: str, overrides: tuple[str, ...]) -> str:
    """8 hex digits. Raises ConfigError for a command line that cannot be composed."""
    with composer_of(script) as composer:
        config = composer.compose(overrides)
        check_values(config)
        return job_hash(config)
