"""`scripts/convert.py`: a run becomes a Hugging Face folder, a published model a run, or a folder of another form.

A run's folder made here holds weights, tokenizer and shape, which is all that `init_from`, generate, evaluate and
serve ask for; it has no curves, and no training to go on with.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from omegaconf import DictConfig, OmegaConf

from deepseek_lab.checkpoint.atomic import write_atomically
from deepseek_lab.checkpoint.huggingface import save_pretrained
from deepseek_lab.checkpoint.located import checkpoint_name, is_gguf
from deepseek_lab.checkpoint.native import MODEL_PREFIX, describe
from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.data.whole_folder import whole_folder
from deepseek_lab.experiment.finished import FinishedRun, find_run
from deepseek_lab.experiment.initial import keep_text_and_shape
from deepseek_lab.experiment.published import WEIGHTS, PublishedModel
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.text.generation_defaults import GENERATION
from deepseek_lab.text.published_files import token_ids, write_tokenizer_files
from deepseek_lab.text.special_names import TEMPLATE

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TEXT_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *(TEMPLATE, GENERATION),
)
Form = Literal["hugging_face", "run"]


@dataclass(frozen=True, kw_only=True)
class Conversion(CheckedConfig):
    """What is asked for; the fields are those of conf/convert.yaml."""

    checkpoint: str
    out: str
    to: Form | None
    dtype: Literal["float32", "bfloat16", "float16"] | None
    fp8: bool
    shard_bytes: int

    def check(self) -> None:
        self.require_positive("shard_bytes")
        if self.fp8 and self.to == "run":
            raise ConfigError("is a form of Hugging Face folders; to=run cannot have it", "fp8")

    @classmethod
    def of(cls, cfg: DictConfig) -> Self:
        """Raises ConfigError."""
        values: Any = OmegaConf.to_container(cfg, resolve=True)
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


def check_conversion(cfg: DictConfig) -> None:
    """Raises ConfigError before anything is read."""
    asked = Conversion.of(cfg)
    target = Path(asked.out).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"= {asked.out} exists already, and is not empty", "out")


def convert(cfg: DictConfig) -> None:
    """Writes `out` and says in one line what it is."""
    check_conversion(cfg)
    asked = Conversion.of(cfg)
    found, target = find_run(asked.checkpoint), Path(asked.out).expanduser()
    form = asked.to or _other_form(found)
    if form == "run" and asked.fp8:
        raise ConfigError("is a form of Hugging Face folders; a run cannot have it", "fp8")
    model = _model(found, asked)
    if form == "hugging_face":
        write_hugging_face(found, model, target, asked)
    else:
        write_run(found, model, target, asked)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{target}: {'a Hugging Face folder' if form == 'hugging_face' else 'a run'}, {n_parameters:,} parameters")


def _model(found: FinishedRun | PublishedModel, asked: Conversion) -> Transformer:
    """In the dtype of the checkpoint where none is asked for."""
    cpu = torch.device("cpu")
    if isinstance(found, FinishedRun):
        return found.model(cpu)
    stored = str(found.stored_dtype()).removeprefix("torch.")
    return replace(found, weights=asked.dtype or (stored if stored in WEIGHTS else None)).model(cpu)


def _other_form(found: FinishedRun | PublishedModel) -> Form:
    """A run becomes a folder and a folder a run; a GGUF file a folder."""
    return "run" if isinstance(found, PublishedModel) and not is_gguf(found.folder) else "hugging_face"


def write_hugging_face(
    found: FinishedRun | PublishedModel, model: Transformer, target: Path, asked: Conversion
) -> None:
    """Weights, config and tokenizer files. Raises ConfigError, naming the field, for a shape without a class."""
    published = isinstance(found, PublishedModel) and not is_gguf(found.folder)
    tokenizer = None if published else found.tokenizer()
    save_pretrained(
        model,
        target,
        fp8=asked.fp8,
        dtype=DTYPES.get(asked.dtype or ""),
        shard_bytes=asked.shard_bytes,
        tokens=token_ids(tokenizer) if tokenizer else None,
        beside=_copied_text(found.folder) if tokenizer is None else _written_text(found, model),
    )


def _copied_text(source: Path) -> Callable[[Path], None]:
    """The tokenizer files of a folder, as they are."""

    def copy(folder: Path) -> None:
        for name in _TEXT_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)

    return copy


def _written_text(found: FinishedRun | PublishedModel, model: Transformer) -> Callable[[Path], None]:
    tokenizer, template = found.tokenizer(), found.chat_template()
    return lambda folder: write_tokenizer_files(folder, tokenizer, template, model.config.max_seq_len)


def write_run(found: FinishedRun | PublishedModel, model: Transformer, target: Path, asked: Conversion) -> None:
    """A run folder with one checkpoint of step 0."""
    tokenizer, template = found.tokenizer(), found.chat_template()
    width = DTYPES.get(asked.dtype or "")
    weights = {
        MODEL_PREFIX + name: tensor.to(width) if width and "selection_bias" not in name else tensor
        for name, tensor in model.state_dict().items()
    }
    content = {"state_dict": weights, "model_config": describe(model.config), "run": {"steps_done": 0}}
    if target.is_dir():
        target.rmdir()  # empty, see check_conversion
    with whole_folder(target) as folder:
        (folder / "checkpoints").mkdir()
        write_atomically(folder / "checkpoints" / checkpoint_name(0), lambda file: torch.save(content, file))
        keep_text_and_shape(folder, tokenizer, model.config)
        (folder / TEMPLATE).write_text(template, encoding="utf-8")
        (folder / "converted.json").write_text(json.dumps({"from": str(found.folder)}, indent=1) + "\n")
