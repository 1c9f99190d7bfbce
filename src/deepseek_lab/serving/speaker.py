"""A model that can be talked to: the network, its tokenizer, its chat format and the engine that runs it."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from deepseek_lab.checkpoint.located import model_name
from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.experiment.finished import FinishedRun, device_of, model_at
from deepseek_lab.experiment.published import PublishedModel
from deepseek_lab.generation import Engine, Sampling
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.tokenizer import Tokenizer

SAMPLING_KNOBS = tuple(field.name for field in fields(Sampling))
"""What of a request's sampling a person sets; each stands in the YAML of the script."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig(CheckedConfig):
    """The engine's own knobs.

    max_rows: responses decoded at a time; cache_bytes: the most their caches take, null for no limit
    batch_invariant: the same bits whoever else is served; slower
    speculative_depth: how many tokens the MTP modules draft ahead; 0 drafts none
    compile: decoding steps through torch.compile
    """

    max_rows: int
    cache_bytes: int | None
    batch_invariant: bool
    speculative_depth: int
    compile: bool

    def check(self) -> None:
        self.require_positive("max_rows", "cache_bytes")
        self.require_not_negative("speculative_depth")


@dataclass(frozen=True)
class Speaker:
    """What answers; `name` as `model_name` has it."""

    name: str
    tokenizer: Tokenizer
    chat: Chat
    engine: Engine
    max_seq_len: int

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a turn."""
        return self.chat.stop_ids

    def room(self, prompt: list[int]) -> int:
        """How many tokens the model can still write behind `prompt`; negative where that is too long already."""
        return self.max_seq_len - len(prompt)


def engine_config(cfg: DictConfig) -> EngineConfig:
    """The node `engine`. Raises ConfigError naming `engine.<field>`."""
    values: Any = OmegaConf.to_container(cfg.engine, resolve=True)
    try:
        return EngineConfig(**values)
    except ConfigError as error:
        raise error.at("engine") from None


def sampling_of(cfg: DictConfig) -> Sampling:
    """The sampling knobs of a script. Raises ConfigError in one line."""
    for name in SAMPLING_KNOBS:
        value = cfg[name]
        whole = name == "top_k"
        if whole and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise ConfigError(f"must be {'an integer or null' if whole else 'a number'}, not {value!r}", name)
    sampling = Sampling(**{name: cfg[name] for name in SAMPLING_KNOBS})
    try:
        sampling.check()
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return sampling


def load_speaker(cfg: DictConfig, run: FinishedRun | PublishedModel | None = None) -> Speaker:
    """The checkpoint of `cfg` on its device, ready to speak. Raises ConfigError and DataError."""
    knobs, device = engine_config(cfg), device_of(cfg.accelerator)
    if cfg.n_threads:
        torch.set_num_threads(cfg.n_threads)
    run = run or model_at(cfg.checkpoint, cfg.get("weights"))
    tokenizer, model = run.tokenizer(), run.model(device)
    try:
        engine = Engine(model, **vars(knobs))
    except ValueError as error:
        raise ConfigError(str(error), "engine") from None
    chat = Chat(tokenizer, run.chat_template())
    return Speaker(model_name(str(cfg.checkpoint), run.folder), tokenizer, chat, engine, model.config.max_seq_len)
