"""Number formats, applied to a built model from outside: the model never names one."""

from deepseek_lab.precision.applying import apply
from deepseek_lab.precision.recipe import BFloat16, Float8, FullPrecision, Recipe
from deepseek_lab.precision.selection import backend_of, has_bf16_units, surroundings

__all__ = ["BFloat16", "Float8", "FullPrecision", "Recipe", "apply", "backend_of", "has_bf16_units", "surroundings"]
