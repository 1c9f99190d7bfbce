"""Reading a run folder again: its config, its checkpoint, its tokenizer. Published models are found here too.

A stored config is data from a file: only this project's own Config classes are accepted from it (see
`leaf.leaf`), and the network comes from the checkpoint's own description, never from the YAML.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from deepseek_lab.checkpoint.huggingface.plain_json import read_json
from deepseek_lab.checkpoint.located import is_published, latest_checkpoint, located
from deepseek_lab.checkpoint.native import load_model, load_value_model, read_checkpoint, rebuild
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.experiment.published import PublishedModel
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.model.value_head import ValueModel
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.published_files import TOKENIZER
from deepseek_lab.text.saved import SavedTokenizer
from deepseek_lab.text.tokenizer import Tokenizer

NETWORK = "network.json"
"""In the folder of a run whose network came from a published model: its shape, which no sheet describes."""


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

    def network(self) -> Transformer.Config | None:
        """The shape of its network where no sheet describes it. Raises DataError for a damaged file."""
        path = self.folder / NETWORK
        if not path.is_file():
            return None
        config = rebuild(read_json(path), str(path))
        if not isinstance(config, Transformer.Config):
            raise DataError(f"{path}: is not the shape of a transformer")
        return config

    def tokenizer_config(self) -> SavedTokenizer.Config:
        """The tokenizer that the run was trained with. Raises DataError when it is gone."""
        config = SavedTokenizer.Config(path=str(self.folder / TOKENIZER))
        config.build()
        return config

    @property
    def results(self) -> Path:
        """Where what is measured of it is written."""
        return self.folder

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the run was trained with."""
        return self.tokenizer_config().build()

    def chat_template(self) -> str:
        """The run's own chat template, or that of its tokenizer's family."""
        return Chat(self.tokenizer()).template

    def model(self, device: torch.device) -> Transformer:
        """The checkpoint's model, in eval mode."""
        return load_model(self.checkpoint).to(device)

    def reward_model(self) -> ValueModel | None:
        """The model of a run of stage=reward, in eval mode; None for another run's."""
        described = rebuild(
            read_checkpoint(self.checkpoint, mapped=True)["model_config"], f"{self.checkpoint}: model_config"
        )
        return load_value_model(self.checkpoint) if isinstance(described, ValueModel.Config) else None


def find_run(path: str) -> FinishedRun | PublishedModel:
    """A run folder (its latest checkpoint), one `.ckpt` file, or a published model. Raises DataError for others."""
    place = located(path)
    if is_published(place):
        return PublishedModel(place)
    if place.is_dir():
        return FinishedRun(place, latest_checkpoint(place))
    return FinishedRun(place.absolute().parent.parent, place)


def model_at(path: str, weights: str | None) -> FinishedRun | PublishedModel:
    """`find_run`, with the knob `weights`. Raises ConfigError where it does not belong."""
    found = find_run(path)
    if weights is None:
        return found
    if isinstance(found, FinishedRun):
        raise ConfigError("is for published models; a run's are fp32 (convert.py writes others)", "weights")
    return replace(found, weights=weights)


def device_of(accelerator: str) -> torch.device:
    """`auto` takes a GPU where there is one. Raises ConfigError for another word or a missing GPU."""
    if accelerator not in ("auto", "cpu", "gpu"):
        raise ConfigError(f"must be auto, cpu or gpu, not {accelerator!r}", "accelerator")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("is gpu, but torch sees none here; use accelerator=cpu", "accelerator")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")
