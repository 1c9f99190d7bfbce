"""Whether a run's blocks go through `torch.compile`: `trainer.compile` auto, always or never.

`auto` does it where it can pay: on an accelerator, in a run of so many steps that the minute or two which compiling
takes is a small share of it, and with nothing beside it that works inside a block's passes. It asks the planned steps
and not a clock, so that a run that is resumed computes the same numbers.
"""

from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.configs import ExperimentConfigs
from deepseek_lab.model.compiled import compile_blocks
from deepseek_lab.model.recompute import recompute
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.precision.recipe import BFloat16, Float8
from deepseek_lab.precision.selection import backend_of

WORTH_STEPS = 2000
"""At some hundred milliseconds each a compiling of a minute is then under a tenth of the run."""


def compiles(configs: ExperimentConfigs, device_type: str) -> bool:
    """The decision; `check_compile` has passed."""
    trainer = configs.trainer
    if trainer.compile != "auto":
        return trainer.compile == "always"
    pays = device_type == "cuda" and trainer.max_steps >= WORTH_STEPS
    return pays and _in_the_way(configs, device_type) is None and not configs.data.isolate_documents


def arrange_passes(model: Transformer, configs: ExperimentConfigs, device_type: str) -> None:
    """Makes the blocks of a built model recompute or compile themselves, as the trainer's settings have it."""
    recompute(model, configs.trainer.recompute)
    if compiles(configs, device_type):
        compile_blocks(model)


def check_compile(configs: ExperimentConfigs, device_type: str) -> None:
    """Raises ConfigError where `always` meets what no compiled block can hold."""
    if configs.trainer.compile == "always" and (other := _in_the_way(configs, device_type)):
        raise ConfigError(f"= always and {other} exclude each other: both change how a block runs", "trainer.compile")


def _in_the_way(configs: ExperimentConfigs, device_type: str) -> str | None:
    """The setting that excludes compiled blocks: hooks on what autograd saves, layers that note what they round."""
    if configs.trainer.recompute != "none":
        return f"trainer.recompute={configs.trainer.recompute}"
    recipe = configs.precision
    rounds = isinstance(recipe, BFloat16) and backend_of(recipe, device_type) == "emulated"
    return f"precision={recipe.name}" if isinstance(recipe, Float8) or rounds else None
