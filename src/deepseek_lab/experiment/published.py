"""A model that no run of ours made, where a run is read: a Hugging Face folder, a GGUF file, a name on the hub.

Its network, tokenizer and chat template come with it. It has no config of a run, so what asks for one (the loss on
the run's own held-out data) is refused.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from deepseek_lab.checkpoint.gguf_file import load_gguf, opened
from deepseek_lab.checkpoint.gguf_tokenizer import GgufTokenizer
from deepseek_lab.checkpoint.huggingface import load_pretrained
from deepseek_lab.checkpoint.huggingface.source import Source
from deepseek_lab.checkpoint.located import is_gguf
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.published_files import TOKENIZER
from deepseek_lab.text.saved import SavedTokenizer
from deepseek_lab.text.tokenizer import Tokenizer, TokenizerConfig

FP8 = "fp8"
WEIGHTS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, FP8: None}


@dataclass(frozen=True)
class PublishedModel:
    """What `FinishedRun` is for a run; `folder` may be a GGUF file.

    weights: what they are kept in, a key of WEIGHTS; None is fp32 on a CPU, elsewhere as they are stored
    """

    folder: Path
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.weights is not None and self.weights not in WEIGHTS:
            raise ConfigError(f"must be null, {', '.join(WEIGHTS)}, not {self.weights!r}", "weights")
        if self.weights == FP8 and is_gguf(self.folder):
            raise ConfigError("= fp8 is no form of a GGUF file", "weights")

    @property
    def checkpoint(self) -> Path:
        """The folder itself."""
        return self.folder

    @property
    def results(self) -> Path:
        """Where what is measured of it is written: beside its weights."""
        return self.folder if self.folder.is_dir() else self.folder.parent

    @property
    def config(self) -> DictConfig:
        """Raises ConfigError: there is none."""
        raise ConfigError(
            f"{self.folder} is a published model, which has no held-out data here; what=text measures any text",
            "checkpoint",
        )

    def network(self) -> Transformer.Config:
        """Its shape, from its config. Raises DataError."""
        return opened(self.folder).network() if is_gguf(self.folder) else Source(self.folder).config

    def tokenizer_config(self) -> TokenizerConfig:
        """Its tokenizer where one is chosen. Raises DataError when there is none."""
        if is_gguf(self.folder):
            return GgufTokenizer.Config(path=str(self.folder))
        if not (self.folder / TOKENIZER).is_file():
            raise DataError(f"{self.folder}: holds no {TOKENIZER}")
        return SavedTokenizer.Config(path=str(self.folder / TOKENIZER))

    def tokenizer(self) -> Tokenizer:
        """Raises DataError when there is none that can be read."""
        return self.tokenizer_config().build(())

    def chat_template(self) -> str:
        """Its own, or that of its tokenizer's family."""
        return Chat(self.tokenizer()).template

    def stored_dtype(self) -> torch.dtype:
        """What its weights are stored in; fp32 for a GGUF file."""
        return torch.float32 if is_gguf(self.folder) else Source(self.folder).dtype

    def model(self, device: torch.device) -> Transformer:
        """The network with its weights, in eval mode."""
        width = torch.float32 if device.type == "cpu" else self.stored_dtype()
        if self.weights is not None:
            width = WEIGHTS[self.weights] or width
        if is_gguf(self.folder):
            return load_gguf(self.folder).to(device, width)
        return load_pretrained(self.folder, width, device, keep_fp8=self.weights == FP8)
