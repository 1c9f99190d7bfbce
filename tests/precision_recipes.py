"""The shipped recipes as objects, read from conf/ as a run reads them."""

from dataclasses import replace
from pathlib import Path

import yaml

from deepseek_lab.precision.recipe import BFloat16, Float8

CONF = Path(__file__).resolve().parents[1] / "conf" / "precision"


def _values(name):
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    for base in values.pop("defaults", []):
        if base != "_self_":
            values = _values(base) | values
    values.pop("_target_", None)
    return values


def fp8(name="fp8", **changes):
    """An emulated recipe of this name."""
    return replace(Float8(**_values(name)), **{"backend": "emulated", **changes})


def bf16(**changes):
    return replace(BFloat16(**_values("bf16")), **{"backend": "emulated", **changes})
