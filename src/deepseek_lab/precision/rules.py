"""What a recipe means for one layer: how each operand of its products is rounded.

Apart from the recipes, which are checked before torch is imported.
"""

from deepseek_lab.precision.formats import FORMATS
from deepseek_lab.precision.operands import Rules
from deepseek_lab.precision.quantise import TINIEST, TURNED, Rounding
from deepseek_lab.precision.recipe import BFloat16, Float8

OPERANDS: dict[str, str] = {
    "attention_output": ".attention.wo",
    "expert_input": ".experts.gate_up_matmul",
    "expert_down_gradient": ".experts.down_matmul",
}
"""How the name of the layer ends whose operand V3 §3.3.3 treats apart: input, input, gradient."""


def rules_of(recipe: BFloat16 | Float8, layer: str) -> Rules:
    """How the operands of the layer of this name are rounded; in bf16 every one to bf16."""
    if isinstance(recipe, BFloat16):
        return Rules()
    is_output = layer.endswith(OPERANDS["attention_output"])
    is_input = layer.endswith(OPERANDS["expert_input"]) and "expert_input" in recipe.power_of_two
    special_output = is_output and "attention_output" in recipe.power_of_two
    activation = _rounding(recipe, recipe.activation_tile, is_input or special_output, "e4m3")
    down = layer.endswith(OPERANDS["expert_down_gradient"]) and "expert_down_gradient" in recipe.power_of_two
    gradient = _rounding(recipe, recipe.gradient_tile, down, recipe.gradient_format, TINIEST)
    weight = _rounding(recipe, recipe.weight_tile, False, "e4m3")
    kept = None
    if is_output and recipe.attention_output_format == "e5m6":
        kept = _rounding(recipe, recipe.activation_tile, special_output, "e5m6")
    return Rules(
        activation=activation,
        activation_again=_turned(activation),
        weight=weight,
        weight_again=_turned(weight),
        gradient=gradient,
        gradient_again=_turned(gradient),
        kept=kept,
    )


def _rounding(recipe: Float8, tile: str, power_of_two: bool, form: str, smallest: float | None = None) -> Rounding:
    exact = power_of_two or recipe.scale_format == "ue8m0"
    return Rounding(tile, FORMATS[form], exact, recipe.smallest_amax if smallest is None else smallest)


def _turned(how: Rounding) -> Rounding | None:
    """The rounding for the product that contracts the other side; None where the same numbers serve."""
    return how.turned() if how.tile in TURNED else None
