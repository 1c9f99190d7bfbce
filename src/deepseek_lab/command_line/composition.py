"""Composes configs with Hydra's own code, without running anything, and says in one line what is wrong.

Hydra names an unknown key in three lines and an unknown option in a list of paths. Here both become
a ConfigError with the nearest right name. Two habits of Hydra are refused: `+key=` (every knob
stands in a YAML, so a key that has to be added is read by nobody) and `~key` (a part is swapped,
never taken out).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from hydra import initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from deepseek_lab.advice import override as as_text
from deepseek_lab.advice import typed
from deepseek_lab.command_line.naming import PROJECT_ROOT
from deepseek_lab.config import ConfigError, closest, nearest

NO_SUCH_OPTION = {
    ("precision", "fp16"): "its range ends at 65,504 and its gradients vanish without loss scaling, which no DeepSeek "
    "model used; bf16 has the range of fp32"
}
"""Why an option that many expect is not there."""


def one_line(error: object) -> str:
    """The text of an error without its line breaks."""
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())


def dotted_keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every key of a config, inner ones too, as a person types it (`model.dim`)."""
    for key in config:
        name = prefix + str(key)
        yield name
        child = config._get_node(key)
        if isinstance(child, DictConfig) and not (child._is_none() or child._is_missing() or child._is_interpolation()):
            yield from dotted_keys(child, f"{name}.")


def line_of(override: Override) -> str:
    """An override as it was typed."""
    assert override.input_line is not None, "only overrides read from a line come here"
    return override.input_line


def shell_key(override: Override) -> str:
    """The key of an override without `+`, `++` and `~`."""
    return override.get_key_element().lstrip("+~")


def _meant(key: str, known: Sequence[str]) -> str:
    """What an unknown key may stand for: a key beside it, one elsewhere, or else the list of those beside it."""
    parent, _, name = key.rpartition(".")
    beside = [k.removeprefix(f"{parent}.") for k in known if parent and k.rpartition(".")[0] == parent]
    close = closest(name, beside)
    if close:
        return f"; did you mean '{parent}.{close}'?"
    elsewhere = [k for k in known if not beside or (k != parent and not k.startswith(f"{parent}."))]
    named = [k for k in beside if not k.startswith("_")]
    return nearest(key, elsewhere) or (f" ({parent} has {', '.join(named)})" if named else "")


class Composer:
    """A context in which the configs of one script can be composed.

    Raises ConfigError from every method when the overrides name something that is not there.
    """

    def __init__(self, config_dir: Path, config_name: str, extra_dir: str | None = None) -> None:
        self.config_name = config_name
        self._context = initialize_config_dir(config_dir=str(config_dir), job_name=config_name, version_base="1.3")
        self._extra = Path(extra_dir).resolve() if extra_dir else None
        self._always = [f"hydra.searchpath=['file://{self._extra}']"] if extra_dir else []
        self._base: DictConfig | None = None

    def __enter__(self) -> "Composer":
        self._context.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._context.__exit__(kind, error, _)

    @property
    def _hydra(self) -> Hydra:
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None, "a Composer is used inside its with block"
        return hydra

    def _raw(self, overrides: Sequence[str], mode: RunMode) -> DictConfig:
        """Hydra's own composition; Hydra's own errors."""
        return self._hydra.compose_config(
            config_name=self.config_name,
            overrides=[*self._always, *overrides],
            run_mode=mode,
            with_log_configuration=False,
            validate_sweep_overrides=False,
        )

    @property
    def base(self) -> DictConfig:
        """The config with no override at all."""
        if self._base is None:
            self._base = self._raw([], RunMode.MULTIRUN)
        return self._base

    def groups(self) -> dict[str, str | None]:
        """The choice groups of this script and the option each has by default."""
        choices = self.base.hydra.runtime.choices
        return {str(k): choices[k] for k in choices if not str(k).startswith("hydra/")}

    def options(self, group: str) -> list[str]:
        """The options of a choice group; files whose names begin with _ are what their neighbours share."""
        names = set(self._hydra.config_loader.get_group_options(group))
        if self._extra:  # which the loader knows only while it composes
            names.update(path.stem for path in (self._extra / group).glob("*.yaml"))
        return sorted(name for name in names if not name.startswith("_"))

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Overrides by Hydra's grammar; raises ConfigError for one that cannot be read."""
        parser = OverridesParser.create(config_loader=self._hydra.config_loader)
        try:
            return parser.parse_overrides(list(overrides))
        except OverrideParseException as error:
            if "=" not in error.override:
                raise ConfigError("is no override; write key=value", f"'{error.override}'") from None
            raise ConfigError(self._how_to_type(error.override), f"'{error.override}'") from None

    def _how_to_type(self, line: str) -> str:
        """What is said of an override that the grammar cannot read: its value or its key is wrong."""
        key, _, value = line.partition("=")
        text = as_text(key, value)
        try:
            OverridesParser.create().parse_override(text)
        except OverrideParseException:
            return f"cannot be read: {key} is no key{nearest(key, dotted_keys(self.base))}"
        return f"cannot be read; a value with special characters is quoted: {typed([text])}"

    def compose(self, overrides: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """The config of one job (RUN), or what is common to the jobs of a sweep (MULTIRUN), `hydra` node included."""
        parsed = self.parse(overrides)
        for override in parsed:
            if not override.is_hydra_override():
                self._check_override(override, mode)
        try:
            return self._raw(overrides, mode)
        except MissingConfigException as error:
            raise self._missing(error) from error
        except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
            raise self._explain(error, parsed) from error

    def _check_override(self, override: Override, mode: RunMode) -> None:
        key = shell_key(override)
        if not key:
            raise ConfigError("names no key; write key=value", f"'{override.input_line}'")
        if override.is_delete():
            raise ConfigError("takes a part out, which nothing can run without; choose an option instead", f"~{key}")
        if mode == RunMode.RUN and override.is_sweep_override():
            problem = "names several values; add -m to train one after the other"
            if key not in self.groups():
                problem += f", or quote the one text that it is: {typed([as_text(*line_of(override).split('=', 1))])}"
            raise ConfigError(problem, f"'{override.input_line}'")
        if key in self.groups():
            self._check_option(key, override)
        elif override.is_add() or override.is_force_add():
            self._check_added(key, override)

    def _check_option(self, group: str, override: Override) -> None:
        """Refuses an option that the group does not have."""
        if override.is_add():
            raise ConfigError(f"is chosen without the +: {group}={override.get_value_element_as_str()}", f"+{group}")
        if not override.is_sweep_override():  # each job of a sweep has its own turn
            self._check_choice(group, override.value(), self.options(group))

    def _check_choice(self, group: str, value: Any, options: list[str]) -> None:
        names = value if isinstance(value, list) else [value]
        for name in names:
            if name in (None, "null"):
                default = self.groups()[group]
                problem = "chooses nothing unless it is typed; leave it out" if default is None else "needs an option"
                raise ConfigError(f"{problem} (options: {', '.join(options)})", group)
            if (group, str(name)) in NO_SUCH_OPTION:
                raise ConfigError(f"has no option '{name}': {NO_SUCH_OPTION[group, str(name)]}", group)
            if str(name) not in options:
                hint = nearest(str(name), options)
                raise ConfigError(f"has no option '{name}'{hint} (options: {', '.join(options)})", group)

    def _check_added(self, key: str, override: Override) -> None:
        """Refuses `+key=` (write it without the +, or it is read by nobody) and `++key=` of an unknown key."""
        known = [*dotted_keys(self.base), *self.groups()]
        if key not in known and not key.startswith("hydra"):
            raise ConfigError(f"is read by nothing{nearest(key, known)}", override.get_key_element())
        if override.is_add():
            raise ConfigError(f"is in the config already: write {typed([line_of(override)[1:]])}", f"+{key}")

    def _missing(self, error: MissingConfigException) -> ConfigError:
        """An option, or a whole config file, that is not there."""
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        options = sorted(name for name in error.options or [] if not name.startswith("_"))
        if option.startswith("submitit_"):
            return ConfigError("needs hydra-submitit-launcher: pip install -e '.[slurm]'", group)
        if not group or not options:
            return ConfigError(one_line(error).split(" Config search path:")[0])
        return ConfigError(f"has no option '{option}'{nearest(option, options)} (options: {', '.join(options)})", group)

    def _explain(self, error: Exception, parsed: Sequence[Override]) -> ConfigError:
        """The one line for an error of Hydra's composition."""
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        key = getattr(cause, "full_key", None)
        typed = next((o for o in parsed if key and shell_key(o) == key), None)
        if typed is None:
            typed = next((o for o in parsed if key and shell_key(o).startswith(f"{key}.")), None)
        if typed is None:
            return ConfigError(one_line(error) or one_line(cause))
        others = [line_of(o) for o in parsed if o is not typed]
        known = [k for k in [*self._keys_without(others), *self.groups()] if not k.startswith("hydra")]
        key = shell_key(typed)
        if key in known:
            return ConfigError(one_line(cause).split(" full_key:")[0], key)
        return ConfigError(f"is unknown{_meant(key, known)}", key)

    def _keys_without(self, overrides: list[str]) -> list[str]:
        """The keys that could have been meant: those of the config the other overrides compose."""
        try:
            return list(dotted_keys(self._raw(overrides, RunMode.MULTIRUN)))
        except (HydraException, OmegaConfBaseException, yaml.YAMLError):
            return list(dotted_keys(self.base))


@contextmanager
def composer_of(script: str) -> Iterator[Composer]:
    """A Composer of the project's own configs of another script, while Hydra runs this one: it keeps one at a time."""
    ours = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with Composer(PROJECT_ROOT / "conf", script) as composer:
            yield composer
    finally:
        GlobalHydra.instance().clear()
        if ours is not None:
            GlobalHydra.instance().initialize(ours)
