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
from deepseek_lab.text.generation_defaults import GENERATION, GenerationDefaults
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
    def generation(self) -> GenerationDefaults:
        """How the model's files want it to be sampled."""
        return self.tokenizer.generation

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


def sampling_of(cfg: DictConfig, fallback: Sampling | None = None, own: GenerationDefaults | None = None) -> Sampling:
    """The sampling knobs of a script; null takes the model's own value, else that of `fallback`.

    own: what the model's files say; its top_k is turned off by top_k=0. Raises ConfigError in one line.
    """
    values = dict(vars(fallback or Sampling())) | (own.sampling if own else {})
    typed = {name: cfg[name] for name in SAMPLING_KNOBS if cfg[name] is not None}
    for name, value in typed.items():
        whole = name == "top_k"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise ConfigError(f"must be {'an integer or null' if whole else 'a number or null'}, not {value!r}", name)
    if typed.get("top_k") in (0, -1):
        typed["top_k"] = None
    sampling = Sampling(**(values | typed))
    try:
        sampling.check()
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return sampling


def own_defaults_line(cfg: DictConfig, own: GenerationDefaults, typed_length: int | None) -> str | None:
    """What of the model's generation_config.json counts because nothing was typed, and what of it is not used."""
    taken = {name: value for name, value in own.sampling.items() if cfg.get(name) is None}
    if own.max_new_tokens is not None and typed_length is None:
        taken["max_new_tokens"] = own.max_new_tokens
    parts = [", ".join(f"{name}={value}" for name, value in taken.items())] if taken else []
    parts += [f"not used: {', '.join(own.unused)}"] if own.unused else []
    return f"from the model's {GENERATION}: {'; '.join(parts)}" if parts else None


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
