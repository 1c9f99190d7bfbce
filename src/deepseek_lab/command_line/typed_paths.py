"""What is typed for a path: absolute, `~` expanded, never empty, and where it is read from, really there.

A run stores what was typed for it and may go on from another folder, so a path is made absolute before anything is
composed. An empty value (an unset shell variable) would name the current folder: it is refused, for every key but
those of texts. Left out: what lies at a path, which is for whoever reads it.
"""

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from omegaconf import DictConfig, OmegaConf

from deepseek_lab.advice import quoted
from deepseek_lab.command_line.composition import Composer, dotted_keys, line_of, shell_key
from deepseek_lab.config import ConfigError, nearest

TEXTS = frozenset({"prompt", "system"})
"""Keys whose empty value is a text."""

_CORPUS = r"data\.corpus(?:\.sources\.\w+)?\."
READ = re.compile(
    rf"{_CORPUS}(?:path|folder|new|old)|tokenizer\.path|text\.path|prompts|key_file|harness\.include_path|runs"
)
"""Keys of what is read from; a list may hold several."""

WRITTEN = re.compile(r"paths\.\w+|out|folder|hydra\.(?:run|sweep)\.dir|data\.(?:.+\.)?cache_dir")
LISTS = re.compile(rf"runs|{_CORPUS}old")
NAMED = re.compile(r"resume|checkpoint|init_from|stage\.teacher|rollout\.reward_model|" + _CORPUS + "name")
"""Keys of models and datasets, which a name on the hub or of a package may stand for as well."""


def usable_overrides(composer: Composer, overrides: Sequence[str], multirun: bool) -> list[str]:
    """The overrides with their paths made absolute. Raises ConfigError for an empty value.

    multirun: whether `a,b` are two values; without it they are refused as they were typed
    """
    parsed = composer.parse([_home_expanded(word) for word in overrides])
    sweep = multirun or any(shell_key(override) == "ablation" for override in parsed)
    return [_usable(override, composer, sweep) for override in parsed]


def _home_expanded(word: str) -> str:
    """`out=~/x`, which Hydra's grammar cannot read, with the home in the place of `~`, as a shell has it."""
    key, _, value = word.partition("=")
    if value.startswith("~") and _change_of(key) is not None and not re.search(r"[,\[\]{}$'\"]", value):
        return f"{key}={quoted(_expanded(value, key))}"
    return word


def _usable(override: Override, composer: Composer, sweep: bool) -> str:
    key = shell_key(override)
    values = override.value()
    values = values.list if isinstance(values, ChoiceSweep) else [values]
    values = [value.text if isinstance(value, QuotedString) else value for value in values]
    if key not in TEXTS and key not in composer.groups() and not override.is_delete():
        for value in values:
            _require_value(key, value)
    change = _change_of(key)
    several = override.is_sweep_override()
    if change is None or (several and not (sweep and isinstance(override.value(), ChoiceSweep))):
        return line_of(override)
    if not LISTS.fullmatch(key) and any(isinstance(value, list) for value in values):
        return line_of(override)
    if "${" in line_of(override):  # leads somewhere else, which only Hydra knows; a home in front of it is here
        line = line_of(override)
        found = re.match(r"([^=]*=['\"]?)~(?=/)", line)
        return found[1] + _expanded("~", key) + line[found.end() :] if found and not NAMED.fullmatch(key) else line
    changed = [_mapped(value, change) for value in values]
    if changed == [_mapped(value, str) for value in values]:
        return line_of(override)
    return f"{override.get_key_element()}={','.join(_written(value) for value in changed)}"


def _require_value(key: str, value: Any) -> None:
    if isinstance(value, str) and not value.strip():
        raise ConfigError(
            "has no value: it is empty (a shell variable that is not set?); give one, or leave it out", key
        )
    if isinstance(value, list) and _change_of(key) is not None:
        for each in value:
            _require_value(key, each)


def _change_of(key: str) -> Callable[[str], str] | None:
    """What is done with the texts typed for a key; None for one that holds no path."""
    if READ.fullmatch(key) or WRITTEN.fullmatch(key):
        return partial(_absolute, key=key)
    return partial(_absolute_if_there, key=key) if NAMED.fullmatch(key) else None


def _expanded(path: str, key: str) -> str:
    """The path with the home folder in the place of `~` or `~name`. Raises ConfigError where there is none."""
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        whose = expanded.split("/")[0]
        raise ConfigError(f"= {path}: no home folder is known for {whose}; write the path from / on", key)
    return expanded


def _absolute(path: str, key: str) -> str:
    return str(Path(_expanded(path, key)).absolute())


def _absolute_if_there(name: str, key: str) -> str:
    """A name that is also a file or folder here is that; so is one that is written as a path."""
    looks_like_a_path = name.startswith(("~", "./", "../", "/")) or Path(name).exists()
    return _absolute(name, key) if looks_like_a_path and name != "auto" else name


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(str(value))
    return [_mapped(each, change) for each in value] if isinstance(value, list) else value


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(_written(each) for each in value)}]"
    if isinstance(value, str):
        return quoted(value)
    return "null" if value is None else str(value)


def same_place(key: str, one: Any, other: Any) -> bool:
    """Whether two values of a key are alike; paths are, however they are written."""
    change = _change_of(key)
    return bool(one == other or (change is not None and _mapped(one, change) == _mapped(other, change)))


def require_read_paths(config: DictConfig) -> None:
    """Raises ConfigError for the first path to be read that does not exist, with the nearest name beside it.

    A run that goes on has what it needs in its own folder.
    """
    if OmegaConf.select(config, "resume"):
        return
    for key in dotted_keys(config):
        if READ.fullmatch(key):
            value = OmegaConf.select(config, key)
            for path in value if LISTS.fullmatch(key) and OmegaConf.is_list(value) else [value]:
                if isinstance(path, str):
                    _require_there(key, Path(path))


def _require_there(key: str, path: Path) -> None:
    try:
        there = path.exists()
        beside = [] if there or not path.parent.is_dir() else [other.name for other in path.parent.iterdir()]
    except OSError as error:
        raise ConfigError(f"cannot be read: {path} ({error.strerror})", key) from None
    if not there:
        raise ConfigError(f"names no file or folder: {path}{nearest(path.name, beside)}", key)
