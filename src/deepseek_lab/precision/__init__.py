"""Number formats, applied to a built model from outside: the model never names one."""

from deepseek_lab.precision.recipe import Recipe, apply, has_bf16_units, warn_if_slow

__all__ = ["Recipe", "apply", "has_bf16_units", "warn_if_slow"]
