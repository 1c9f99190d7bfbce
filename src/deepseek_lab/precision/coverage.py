"""What a recipe takes hold of in a model, in one line for a person.

Left out: applying it (`applying`).
"""

from collections.abc import Iterator

from torch import nn

from deepseek_lab.precision.applying import is_kept_high, quantised_layers
from deepseek_lab.precision.quantise import TILES
from deepseek_lab.precision.recipe import BFloat16, Float8, FullPrecision, Recipe
from deepseek_lab.precision.selection import backend_of, surroundings
from deepseek_lab.seams import GroupedMatmul


def coverage(model: nn.Module, recipe: Recipe, device_type: str) -> str:
    """How many layers multiply in the recipe's format and by which backend, what stays high, and what is padded.

    Raises ConfigError as `backend_of` does.
    """
    backend = backend_of(recipe, device_type)
    if isinstance(recipe, FullPrecision):
        return "fp32 throughout"
    if isinstance(recipe, BFloat16) and backend == "native":
        return "bf16 products under autocast; weights, sums, norms, router and loss in fp32"
    around = surroundings(recipe, device_type)
    layers = list(quantised_layers(model, recipe))
    n_grouped = sum(isinstance(module, GroupedMatmul) for _, module in layers)
    parts = [
        f"{recipe.name}, {backend}: {len(layers) - n_grouped} linears and {n_grouped} products of experts",
        f"the rest in {around} ({', '.join(kept_high(model, recipe))}, norms, attention core)",
        *_padding(model, recipe),
    ]
    return "; ".join(parts)


def kept_high(model: nn.Module, recipe: BFloat16 | Float8) -> list[str]:
    """Which of the recipe's names of parts kept high the model has."""
    names = {part for name, _ in model.named_modules() for part in name.split(".") if is_kept_high(part, recipe)}
    return sorted(names)


def _padding(model: nn.Module, recipe: BFloat16 | Float8) -> Iterator[str]:
    """The widths that the tiles do not divide."""
    sides = TILES[recipe.weight_tile].rows if isinstance(recipe, Float8) else None
    if sides is None or sides == 1:
        return
    odd = sorted({width for width in _widths(model, recipe) if width % sides})
    if odd:
        yield f"widths {', '.join(map(str, odd))} are padded with zeros to multiples of {sides}"


def _widths(model: nn.Module, recipe: BFloat16 | Float8) -> Iterator[int]:
    """Both sides of every quantised weight."""
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2 and not is_kept_high(name, recipe):
            yield from parameter.shape[-2:]
