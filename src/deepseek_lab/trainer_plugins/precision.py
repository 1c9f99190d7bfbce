"""Lightning's precision plugin for a recipe: autocast around the step, and the recipe in the checkpoint.

The recipe itself is laid over the model in `Stage.configure_model`. Lightning's hook for that, `convert_module`, comes
behind `fully_shard` and loses the module it returns under DDP, so this plugin converts nothing.

Left out: gradient scaling, which only fp16 needs.
"""

from dataclasses import asdict
from typing import Any

from lightning.pytorch.plugins.precision import MixedPrecision, Precision

from deepseek_lab.precision.recipe import Recipe
from deepseek_lab.precision.selection import surroundings


class _Recorded:
    """Stores what the products were computed in; a run may go on with another recipe."""

    recipe: Any

    def state_dict(self) -> dict[str, Any]:
        """The recipe as plain values."""
        return asdict(self.recipe)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The config decides, not the checkpoint."""


class RecipePrecision(_Recorded, Precision):
    """fp32 around the products."""


class RecipeAutocast(_Recorded, MixedPrecision):
    """bf16 around the products, and in them where the recipe is bf16 itself."""


def precision_plugin(recipe: Recipe, device_type: str) -> Precision:
    """The plugin for a recipe on a kind of device."""
    plugin: Any
    if surroundings(recipe, device_type) == "bf16":
        plugin = RecipeAutocast("bf16-mixed", device_type)
    else:
        plugin = RecipePrecision()
    plugin.recipe = recipe
    chosen: Precision = plugin
    return chosen
