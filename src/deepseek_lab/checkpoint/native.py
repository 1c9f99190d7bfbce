"""Our own checkpoint: weights, training state, and the model's config as data.

A config is written as nested plain dicts, each with the `kind` of its Config class from the table
below; `rebuild` goes the other way through the same table. No name in a checkpoint is ever imported, no
`_target_` followed and no `${…}` resolved: text stays text. `load_model` builds the config on `meta`
and compares every shape with the weights before it takes memory.

Left out: writing during training (trainer_plugins/checkpoint_io) and Hugging Face folders.
"""

import importlib
import pickle
import pkgutil
import re
import zipfile
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_origin, get_type_hints

import torch
from torch import Tensor

from deepseek_lab.checkpoint.first_rank import are_unread, leave_unread
from deepseek_lab.checkpoint.located import latest_checkpoint
from deepseek_lab.config import ConfigError, DataError, nearest
from deepseek_lab.input_files import require_fetched
from deepseek_lab.model import attention, ffn
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.model.value_head import ValueModel

M = TypeVar("M", Transformer, ValueModel)


def _kind(cls: type[Any]) -> str:
    """`LatentAttention` as `latent_attention`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


def _configs_in(package: ModuleType) -> dict[str, type[Any]]:
    """The Config of every class that the modules of a package of ours define, under the class' kind."""
    found = {}
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        for value in vars(importlib.import_module(info.name)).values():
            if isinstance(value, type) and value.__module__ == info.name and "Config" in vars(value):
                found[_kind(value)] = value.__dict__["Config"]
    return found


KINDS: dict[str, type[Any]] = {
    "rope": RopeConfig,
    **{_kind(cls): cls.Config for cls in (Transformer, MultiTokenPrediction, ValueModel)},
    **_configs_in(attention),
    **_configs_in(ffn),
}
"""Every Config that a checkpoint may hold; a new file in model/attention/ or model/ffn/ is found by itself."""

MODEL_PREFIX = "model."
"""What Lightning puts before the names of the weights, because a stage holds the model as `model`."""

_PARTS = ("state_dict", "model_config", "run")


def describe(config: Any) -> dict[str, Any]:
    """A config of the table as nested plain dicts. Raises TypeError for a class that the table lacks."""
    kind = next((name for name, cls in KINDS.items() if type(config) is cls), None)
    if kind is None:
        raise TypeError(f"{type(config).__qualname__} has no kind in checkpoint/native.py")
    return {"kind": kind, **{field.name: _plain(getattr(config, field.name)) for field in fields(config)}}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return describe(value)


def rebuild(data: Any, where: str = "model_config") -> Any:
    """The config that `describe` wrote. Raises DataError for an unknown kind or field or a bad value."""
    if not isinstance(data, dict) or data.get("kind") not in KINDS:
        kind = data.get("kind") if isinstance(data, dict) else data
        raise DataError(f"{where}: unknown kind of config {str(kind)[:60]!r}{nearest(str(kind)[:60], KINDS)}")
    cls = KINDS[data["kind"]]
    hints = get_type_hints(cls)
    values = {name: value for name, value in data.items() if name != "kind"}
    names = [field.name for field in fields(cls)]
    for name in values:
        if name not in names:
            raise DataError(f"{where}: unknown field {str(name)[:60]!r}{nearest(str(name)[:60], names)}")
    try:
        return cls(**{name: _value(value, hints[name], f"{where}.{name}") for name, value in values.items()})
    except (ConfigError, TypeError) as error:
        raise DataError(f"{where}: {str(error).splitlines()[0]}") from None


def _value(value: Any, annotation: Any, where: str) -> Any:
    if isinstance(value, dict):
        return rebuild(value, where)
    return tuple(value) if isinstance(value, list) and get_origin(annotation) is tuple else value


def require_archive(path: Path) -> None:
    """Raises DataError for a file that is missing, cut off or foreign, without reading its tensors."""
    if not path.is_file():
        raise DataError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    if not zipfile.is_zipfile(path):  # also keeps torch's reader of its old format away from it
        raise DataError(f"{path}: truncated, or not a checkpoint at all")


def read_checkpoint(path: Path, mapped: bool = False) -> dict[str, Any]:
    """A checkpoint on the CPU, tensors and plain values only.

    mapped: a tensor's numbers are read when something looks at them, from the file, which has to stay as it is
    Raises DataError, in one line, for a missing, truncated or foreign file.
    """
    require_fetched(path)
    require_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError:
        raise
    except pickle.UnpicklingError:
        raise DataError(f"{path}: holds objects other than tensors and plain values") from None
    except Exception as error:  # a damaged archive makes torch's reader stumble in many ways
        raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0][:120]})") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in _PARTS):
        raise DataError(f"{path}: not a checkpoint of deepseek_lab (a dict with {', '.join(_PARTS)})")
    return content


def load_model(path: Path) -> Transformer:
    """The model of a run folder (its latest checkpoint) or of one `.ckpt` file, on the CPU, in eval mode.

    Raises DataError when the file is bad, or when its weights are not those of its config.
    """
    return _loaded(path, Transformer, "a transformer")


def load_value_model(path: Path) -> ValueModel:
    """The same for the model of a reward stage. Raises DataError as `load_model` does."""
    return _loaded(path, ValueModel, "a value model")


def _loaded(path: Path, kind: type[M], name: str) -> M:
    file = latest_checkpoint(path) if path.is_dir() else path
    content = read_checkpoint(file, mapped=are_unread())
    weights = model_weights(content)
    config = rebuild(content["model_config"], f"{file}: model_config")
    if not isinstance(config, kind.Config):
        raise DataError(f"{file}: model_config is not {name}")
    require_sizes(config, weights, file)
    model: M = config.build()
    if are_unread():
        leave_unread(model)
    else:
        model.load_state_dict(weights)
    return model.eval()


def model_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The model's own tensors of a checkpoint, under the names of `Transformer.state_dict()`."""
    weights = checkpoint["state_dict"]
    return {name.removeprefix(MODEL_PREFIX): w for name, w in weights.items() if name.startswith(MODEL_PREFIX)}


def require_sizes(config: Transformer.Config | ValueModel.Config, weights: dict[str, Tensor], file: Path) -> None:
    """Raises DataError, naming the tensor, for weights (under the names of the model) that are not those of `config`.

    Compared on `meta`; a layer count beyond the tensors is not even built.
    """
    network = config.backbone if isinstance(config, ValueModel.Config) else config
    if network.n_layers + network.mtp.depth > len(weights):
        raise DataError(f"{file}: model_config asks for {network.n_layers} layers, the weights hold fewer")
    try:
        with torch.device("meta"):
            expected = {name: tuple(tensor.shape) for name, tensor in config.build().state_dict().items()}
    except (ConfigError, RuntimeError) as error:
        raise DataError(f"{file}: model_config cannot be built ({str(error).splitlines()[0]})") from None
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = next((name for name in sorted(expected | found) if expected.get(name) != found.get(name)), None)
    if wrong is not None:
        raise DataError(f"{file}: weight {wrong} is {found.get(wrong)}, its config says {expected.get(wrong)}")
