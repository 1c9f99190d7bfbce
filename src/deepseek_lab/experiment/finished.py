"""Reading a run folder again: its config, its checkpoint, its tokenizer.

A stored config is data from a file: only this project's own Config classes are accepted from it (see
`configs._leaf`), and the network comes from the checkpoint's own description, never from the YAML.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from deepseek_lab.checkpoint import latest_checkpoint, load_model
from deepseek_lab.config import ConfigError, DataError, nearest
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.text.chat import DEEPSEEK_TEMPLATE
from deepseek_lab.text.tokenizer import Tokenizer


def stored_config(folder: Path) -> DictConfig:
    """The config that the run in `folder` was composed with. Raises DataError when there is none."""
    path = folder / ".hydra" / "config.yaml"
    try:
        config = OmegaConf.load(path)
    except Exception as error:  # yaml and omegaconf raise many kinds
        raise DataError(f"{path}: {str(error).splitlines()[0]}") from None
    if not isinstance(config, DictConfig):
        raise DataError(f"{path}: not a run's config")
    return config


@dataclass(frozen=True)
class FinishedRun:
    """A run folder and the checkpoint of it that was asked for."""

    folder: Path
    checkpoint: Path

    @property
    def config(self) -> DictConfig:
        """The run's composed config. Raises DataError when it is missing or no YAML mapping."""
        return stored_config(self.folder)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the run was trained with."""
        path = self.folder / "tokenizer.json"
        if not path.is_file():
            raise DataError(f"{path}: no such file; is this a run folder?")
        return Tokenizer.load(path)

    def chat_template(self) -> str:
        """The run's own chat template, or DeepSeek's where it has none."""
        path = self.folder / "chat_template.jinja"
        if not path.exists():
            return DEEPSEEK_TEMPLATE
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read ({type(error).__name__})") from None

    def model(self, device: torch.device) -> Transformer:
        """The checkpoint's model, in eval mode."""
        return load_model(self.checkpoint).to(device)


def find_run(path: str) -> FinishedRun:
    """A run folder (its latest checkpoint) or one `.ckpt` file. Raises DataError for anything else."""
    place = Path(path).expanduser()
    if place.is_dir():
        return FinishedRun(place, latest_checkpoint(place))
    if not place.exists():
        beside = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
        raise DataError(f"{place}: no such run folder or checkpoint{nearest(place.name, beside)}")
    return FinishedRun(place.absolute().parent.parent, place)


def device_of(accelerator: str) -> torch.device:
    """`auto` takes a GPU where there is one. Raises ConfigError for another word or a missing GPU."""
    if accelerator not in ("auto", "cpu", "gpu"):
        raise ConfigError(f"must be auto, cpu or gpu, not {accelerator!r}", "accelerator")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("is gpu, but torch sees none here; use accelerator=cpu", "accelerator")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")
