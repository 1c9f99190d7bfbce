"""A recipe: named steps in a row, each a script with its overrides, and the earlier step it starts from.

Nothing here knows what a step does. A step is a command line that could be typed; `{steps.<name>}` in it stands for
the folder of an earlier step, `start` is short for `init_from=` (of train) or `checkpoint=` (of the others).
`test` names measurements that every trained step gets beside its own result.

Left out: steps that depend on what an earlier one measured, but for costs: `equal_flops` gives a control as many
steps as cost what others have cost, `at_tokens` and `at_flops` choose the checkpoint that a test measures.
"""

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from deepseek_lab.config import CheckedConfig, ConfigError, nearest

C = TypeVar("C", bound=CheckedConfig)
NAME = re.compile(r"[a-z][a-z0-9_]*")
REFERENCE = re.compile(r"\{steps\.([^}]*)\}")
Script = Literal["train", "evaluate", "rejection_sampling"]
LEARNING_RATES = ("low", "mid", "high")
START_KEY: dict[str, str] = {"train": "init_from", "evaluate": "checkpoint", "rejection_sampling": "checkpoint"}


@dataclass(frozen=True, kw_only=True)
class Step(CheckedConfig):
    """One command line.

    what: in a report, in a few words
    minutes: how long it is expected to take, on two cores
    tests: which of the recipe's tests it gets; test_overrides: theirs for this step, how it is asked
    equal_flops: steps whose cost together (training and generation) a train step may spend
    control: not part of the recipe itself but beside it, to compare with
    learning_rates: three of them, low to high, make this step three: `<name>_low`, `<name>_mid` and `<name>_high`
    """

    script: Script = "train"
    start: str | None = None
    overrides: list[str] = field(default_factory=list)
    minutes: float = 1.0
    what: str = ""
    tests: list[str] = field(default_factory=list)
    test_overrides: list[str] = field(default_factory=list)
    equal_flops: list[str] = field(default_factory=list)
    control: bool = False
    learning_rates: list[float] = field(default_factory=list)

    def check(self) -> None:
        if self.minutes <= 0:
            raise ConfigError(f"must be above 0, not {self.minutes}", "minutes")
        if self.equal_flops and self.script != "train":
            raise ConfigError(f"belongs to a step that trains, not to script: {self.script}", "equal_flops")
        rates = self.learning_rates
        if rates and (len(rates) != len(LEARNING_RATES) or not all(math.isfinite(rate) and rate > 0 for rate in rates)):
            raise ConfigError(f"must be three numbers above 0 (low, mid, high), not {rates}", "learning_rates")

    def arms(self, name: str) -> dict[str, "Step"]:
        """The step by its name, or one step for each of its learning rates."""
        if not self.learning_rates:
            return {name: self}
        return {
            f"{name}_{word}": replace(
                self,
                learning_rates=[],
                what=f"{self.what}, learning rate {rate:g}",
                overrides=[*self.overrides, f"optimizer.lr={rate!r}"],
            )
            for word, rate in zip(LEARNING_RATES, self.learning_rates, strict=True)
        }

    @property
    def named(self) -> list[str]:
        """The steps whose folders stand in its overrides, each once."""
        return list(dict.fromkeys(name for override in self.overrides for name in REFERENCE.findall(override)))

    @property
    def reads(self) -> list[str]:
        """The steps that it is made from, each once."""
        return list(dict.fromkeys([*([self.start] if self.start else []), *self.named]))

    @property
    def needs(self) -> list[str]:
        """The steps that must be done before it, each once."""
        return list(dict.fromkeys([*self.reads, *self.equal_flops]))


@dataclass(frozen=True, kw_only=True)
class Measurement(CheckedConfig):
    """A measurement: overrides of scripts/evaluate.py.

    at_tokens, at_flops: not the step's end is measured but its last checkpoint that cost no more, so that steps which
        draw and learn at unequal cost are seen at an equal one; see `pipeline.spending` for what counts
    """

    overrides: list[str]
    minutes: float = 0.3
    what: str = ""
    at_tokens: float | None = None
    at_flops: float | None = None

    def check(self) -> None:
        self.require_positive("at_tokens", "at_flops")
        if self.at_tokens is not None and self.at_flops is not None:
            raise ConfigError("stands beside at_tokens: a test has one budget", "at_flops")

    @property
    def budget(self) -> tuple[str, float] | None:
        """What is spent and how much of it, for a test at an equal cost."""
        given = [("tokens", self.at_tokens), ("flops", self.at_flops)]
        return next(((name, most) for name, most in given if most is not None), None)


class Recipe:
    """The steps in the order in which they run."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """name: of its folder; common: overrides of every step that trains, after its own; seeds: a run for each.

        more: overrides of single steps, after these; so a recipe built on another changes a step without repeating it
        compare: for a step the others that a report compares with it, question by question. Of a step with
        `learning_rates` all three are compared: the test `tuning` chooses which of them counts
        """

        name: str
        title: str
        seeds: list[int]
        common: list[str]
        tests: dict[str, Any]
        compare: dict[str, list[str]]
        steps: dict[str, Any]
        more: dict[str, list[str]] = field(default_factory=dict)

        def check(self) -> None:
            if not NAME.fullmatch(self.name):
                raise ConfigError(f"must be small letters, digits and _, not {self.name!r}", "name")
            if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
                raise ConfigError(f"must be different whole numbers from 0 up, not {self.seeds}", "seeds")
            if not self.steps:
                raise ConfigError("must hold one step at least", "steps")
            recipe = self.build()
            earlier: list[str] = []
            for name, step in recipe.steps.items():
                recipe.check_step(name, step, earlier)
                earlier.append(name)
            for name in self.more:
                if name not in recipe.steps:
                    raise ConfigError(f"names no step: {name}{nearest(name, recipe.steps)}", "more")
            for name in [*recipe.compare, *(other for others in recipe.compare.values() for other in others)]:
                if name not in recipe.steps:
                    raise ConfigError(f"names no step: {name}{nearest(name, recipe.steps)}", "compare")

        def build(self) -> "Recipe":
            return Recipe(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        written = {name: _read(Step, values, f"steps.{name}") for name, values in config.steps.items()}
        arms = {name: step.arms(name) for name, step in written.items()}
        self.steps = {name: step for each in arms.values() for name, step in each.items()}
        self.compare = {
            one: [arm for other in others for arm in arms.get(other, [other])]
            for name, others in config.compare.items()
            for one in arms.get(name, [name])
        }
        self.tests = {name: _read(Measurement, values, f"tests.{name}") for name, values in config.tests.items()}

    def check_step(self, name: str, step: Step, earlier: list[str]) -> None:
        """Raises ConfigError unless all it needs stands before it."""
        if not NAME.fullmatch(name):
            raise ConfigError("must be small letters, digits and _: it names a folder", f"steps.{name}")
        for needed in step.needs:
            if needed not in earlier:
                where = "stands behind it" if needed in self.steps else f"is no step{nearest(needed, earlier)}"
                raise ConfigError(f"needs '{needed}', which {where}", f"steps.{name}")
        for test in step.tests:
            if test not in self.tests:
                raise ConfigError(f"names no test: {test}{nearest(test, self.tests)}", f"steps.{name}.tests")


def _read(kind: type[C], values: Any, path: str) -> C:
    """A plain mapping as a checked config. Raises ConfigError with the path of the key."""
    if not isinstance(values, dict):
        raise ConfigError(f"must be a mapping, not {values!r}", path)
    for key in values:
        if key not in kind.__dataclass_fields__:
            raise ConfigError(f"is unknown{nearest(str(key), kind.__dataclass_fields__)}", f"{path}.{key}")
    try:
        return kind(**values)
    except ConfigError as error:
        raise error.at(path) from None
    except TypeError as error:
        raise ConfigError(f"is not complete: {error}", path) from None
