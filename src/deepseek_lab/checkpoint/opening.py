"""Whatever a person may name as a model: a run folder, one checkpoint of it, a Hugging Face folder, a GGUF file, or
a name on the hub."""

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
    if is_hub_name(path):
        return fetched(path)
    beside = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
    raise DataError(f"{place}: no such run folder or checkpoint{nearest(place.name, beside)}")


def is_published(place: Path) -> bool:
    """Whether it is a Hugging Face folder or a GGUF file, and no run's."""
    return is_gguf(place) or ((place / "config.json").is_file() and not (place / "checkpoints").is_dir())


def load_any(path: str) -> Transformer:
    """The model in fp32 on the CPU, in eval mode. Raises DataError in one line."""
    place = located(path)
    if is_gguf(place):
        return load_gguf(place)
    return load_pretrained(place) if is_published(place) else load_model(place)
