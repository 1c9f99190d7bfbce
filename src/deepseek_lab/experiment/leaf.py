"""One node of a composed config becomes its checked Config, with errors that name what was typed.

When a leaf refuses a value that came from the shape sheet, the error names the sheet's key, which is what the
person wrote. Imports no torch: what a leaf's own module imports comes with the leaf.
"""

import re
from dataclasses import fields
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from deepseek_lab.config import CheckedConfig, ConfigError, nearest

_INTERPOLATION = re.compile(r"\$\{([a-z_][\w.]*)\}")
C = TypeVar("C", bound=CheckedConfig)


def plain(node: DictConfig, path: str) -> dict[str, Any]:
    """A node's values, interpolations resolved. Raises ConfigError for one that is missing, named under `path`."""
    missing = sorted(str(key) for key in OmegaConf.missing_keys(node))
    if missing:
        raise ConfigError("has no value; give one, or choose another option", f"{path}.{missing[0]}")
    return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]


def checked(kind: type[C], values: dict[str, Any], path: str) -> C:
    """`kind(**values)`, with unknown keys and refusals named under `path`."""
    known = {f.name for f in fields(kind)}
    for key in values:
        if key not in known:
            raise ConfigError(f"is unknown{nearest(key, known)}", f"{path}.{key}")
    try:
        return kind(**values)
    except ConfigError as error:
        raise error.at(path) from None


def leaf(cfg: DictConfig, name: str) -> Any:
    """Instantiates one choice group's leaf; only this project's own classes are accepted."""
    target = str(cfg[name].get("_target_", ""))
    if not target.startswith("deepseek_lab."):
        raise ConfigError(f"must name a class of deepseek_lab, not {target!r}", f"{name}._target_")
    try:
        return instantiate(cfg[name], _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ConfigError):
            raise named_as_typed(cfg, _path_of(error, name), cause) from None
        raise ConfigError(f"cannot be built: {str(cause or error).splitlines()[0]}", name) from None


def _path_of(error: InstantiationException, name: str) -> str:
    """The node that was refused, which may lie inside the leaf: Hydra says it in the last line of its error."""
    _, found, path = str(error).rpartition("full_key: ")
    return path.strip() if found else name


def named_as_typed(cfg: DictConfig, path: str, error: ConfigError) -> ConfigError:
    """`ffn.n_activated_experts` becomes `model.n_activated_experts` where the leaf took it from there."""
    return ConfigError(error.problem, _typed_path(cfg, f"{path}.{error.field}" if error.field else path))


def _typed_path(cfg: DictConfig, path: str) -> str:
    """Where the value at `path` stands: `stage.loss.clip_low` at `loss.clip_low`, since `stage.loss` is `${loss}`."""
    node: Any = OmegaConf.to_container(cfg, resolve=False)
    names = path.split(".")
    for depth, name in enumerate(names, start=1):
        node = node.get(name) if isinstance(node, dict) else None
        if isinstance(node, str) and (elsewhere := _INTERPOLATION.fullmatch(node)):
            return _typed_path(cfg, ".".join([elsewhere[1], *names[depth:]]))
    return path
