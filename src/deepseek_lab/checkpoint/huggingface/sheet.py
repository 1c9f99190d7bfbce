"""A published config.json, read field by field: with transformers' defaults, and with its own names in errors."""

import difflib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from deepseek_lab.config import ConfigError, DataError

Names = Mapping[str, str]
"""Our field -> the published name of the same number."""


_LARGEST = 2**63


class Sheet:
    """`values` of the file `where`, over the `defaults` of a family."""

    def __init__(self, values: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
        self.given = values
        self.values = {**defaults, **values}
        self.where = where

    def get(self, name: str, default: Any = None) -> Any:
        """A value under its published name."""
        return self.values.get(name, default)

    def take(self, names: Names) -> dict[str, Any]:
        """Our fields with the published values."""
        return {ours: self.values.get(theirs) for ours, theirs in names.items()}

    def require(self, name: str, *allowed: Any) -> None:
        """Raises DataError unless the value is one of `allowed`; an absent one is the first."""
        value = self.values.get(name, allowed[0])
        if value not in allowed:
            listed = " or ".join(repr(one) for one in allowed)
            raise DataError(f"{self.where}: {name} is {repr(value)[:60]}; only {listed} can be loaded")

    def refuse(self, problem: str) -> DataError:
        """An error of this file."""
        return DataError(f"{self.where}: {problem}")

    @contextmanager
    def naming(self, *tables: Names) -> Iterator[None]:
        """Turns a ConfigError about one of our fields into a DataError about the published name."""
        published = {ours: theirs for table in tables for ours, theirs in table.items()}
        try:
            yield
        except ConfigError as error:
            name = published.get(error.field, error.field)
            raise DataError(f"{self.where}: {name} {error.problem}") from None
        except (OverflowError, ZeroDivisionError) as error:
            raise DataError(f"{self.where}: no network has these sizes ({error})") from None

    def require_sane(self, known: set[str]) -> None:
        """Raises DataError for a number that is not finite, or a name that is a slip of one we read."""
        for name, value in self.given.items():
            number = isinstance(value, (int, float))
            if number and (abs(value) >= _LARGEST or not math.isfinite(value)):
                raise self.refuse(f"{name[:60]} is no number that a network has")
            if name not in known:
                close = difflib.get_close_matches(name, known - set(self.given), n=1, cutoff=0.9)
                if close:
                    raise self.refuse(f"{name[:60]!r} is unknown; did you mean {close[0]!r}?")
