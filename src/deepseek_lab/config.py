"""Checked configuration: the base class of every `Config` in the project.

Hydra lets `model.dim=abc` pass when no schema stands behind a node. Here every config is a frozen,
keyword-only dataclass that compares its values with its annotations the moment it is made, so a
wrong type is refused before any data is read, in a notebook just as on the command line.

Left out on purpose: coercion of strings ("64" stays a string and is refused) and any knowledge of
Hydra. The caller that knows where a config came from adds the path (`model.`, `attention.`).

A module that defines a Config must not use `from __future__ import annotations`: the check reads
the annotations as objects.
"""

import difflib
import math
import types
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class ConfigError(ValueError):
    """A configuration that cannot be built: one line for a person, exit code 2.

    `field` is the name inside its config, `problem` what is wrong with it; `at` adds the path of
    the config that holds it.
    """

    def __init__(self, problem: str, field: str = "") -> None:
        self.problem = problem
        self.field = field
        super().__init__(f"{field} {problem}".strip())

    def at(self, path: str) -> "ConfigError":
        """The same error with `path` in front of its field (`dim` becomes `model.dim`)."""
        field = f"{path}.{self.field}" if self.field else path
        return ConfigError(self.problem, field)


class DataError(RuntimeError):
    """Bad data or a bad checkpoint: names the file and the cause in one line, exit code 2."""


def closest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is spelt most like `name`, if any is near."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return close[0] if close else None


def nearest(name: str, names: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the closest of `names`, or an empty string."""
    close = closest(name, names)
    return f"; did you mean '{close}'?" if close else ""


_WORDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


def _wanted(annotation: Any) -> str:
    """An annotation in a person's words."""
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_wanted(a) for a in get_args(annotation))
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(str(v) for v in get_args(annotation))
    if annotation is types.NoneType:
        return "null"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _fits(value: Any, annotation: Any) -> bool:
    """Whether `value` is what `annotation` says; an int passes for a float, a bool for neither."""
    if annotation is Any:
        return True
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return any(_fits(value, a) for a in get_args(annotation))
    if origin is Literal:
        return value in get_args(annotation)
    if origin in (list, tuple):
        return isinstance(value, (list, tuple)) and all(_fits(v, get_args(annotation)[0]) for v in value)
    if origin is dict:
        of_keys, of_values = get_args(annotation)
        return isinstance(value, dict) and all(_fits(k, of_keys) and _fits(v, of_values) for k, v in value.items())
    if annotation in (int, float) and isinstance(value, bool):
        return False
    if annotation is float:
        return isinstance(value, (int, float))
    return isinstance(value, annotation) if isinstance(annotation, type) else True


def _not_finite(value: Any) -> float | None:
    """The first number in a value, or in a list or mapping of them, that is NaN or infinite."""
    if isinstance(value, float):
        return None if math.isfinite(value) else value
    held = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return next((number for each in held if (number := _not_finite(each)) is not None), None)


@dataclass(frozen=True, kw_only=True)
class CheckedConfig:
    """A frozen dataclass whose values are checked against their annotations when it is made.

    Subclasses put rules that join several fields into `check`. Raises ConfigError.
    """

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value = getattr(self, field.name)
            if not _fits(value, hints[field.name]):
                raise ConfigError(f"must be {_wanted(hints[field.name])}, not {value!r}", field.name)
            if (number := _not_finite(value)) is not None:
                raise ConfigError(f"must be a finite number, not {number}", field.name)
        self.check()

    def check(self) -> None:
        """Rules over several fields; raises ConfigError. The base class has none."""

    def require_positive(self, *names: str) -> None:
        """Refuses a named field under 1 (fields that are None are skipped)."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"must be at least 1, not {value}", name)

    def require_not_negative(self, *names: str) -> None:
        """Refuses a named field under 0 (fields that are None are skipped)."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"must not be negative, not {value}", name)
