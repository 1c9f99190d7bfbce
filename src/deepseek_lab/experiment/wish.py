"""What `scripts/generate.py` is asked for: prompts and what to do with the responses."""

from dataclasses import dataclass
from typing import Any, Self

from omegaconf import DictConfig, OmegaConf

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.experiment.prompts import Prompt, read_prompts
from deepseek_lab.text.chat import Message


@dataclass(frozen=True, kw_only=True)
class Wish(CheckedConfig):
    """What is asked of the model, beside the sampling."""

    prompt: str | None
    prompts: str | None
    chat: bool
    system: str | None
    thinking: bool | None
    max_new_tokens: int | None
    n: int
    stop: list[str]
    seed: int
    format: str
    out: str | None
    stream: bool

    def check(self) -> None:
        self.require_positive("max_new_tokens", "n")
        self.require_not_negative("seed")
        if self.format not in ("text", "jsonl"):
            raise ConfigError(f"must be text or jsonl, not {self.format!r}", "format")
        if self.prompt is not None and self.prompts is not None:
            raise ConfigError("and prompts cannot both be given", "prompt")
        if not self.talks and not (self.prompt or self.prompts):
            raise ConfigError("must be a text of at least one character (or prompts=file, or chat=true)", "prompt")
        if not self.chat and (self.thinking is not None or self.system is not None):
            named = "system" if self.thinking is None else "thinking"
            raise ConfigError("belongs to a conversation: chat=true", named)
        if "" in self.stop:
            raise ConfigError("holds an empty text", "stop")

    @property
    def talks(self) -> bool:
        """Whether a person types the prompts."""
        return self.chat and self.prompt is None and self.prompts is None

    @classmethod
    def of(cls, cfg: DictConfig) -> Self:
        """The knobs of conf/generate.yaml. Raises ConfigError."""
        values: Any = OmegaConf.to_container(cfg, resolve=True)
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})

    def asked(self) -> list[Prompt]:
        """The prompts, as conversations under `chat`. Raises DataError for a bad file."""
        found = read_prompts(self.prompts) if self.prompts else [Prompt(self.prompt or "")]
        return [self.as_conversation(prompt) if self.chat else prompt for prompt in found]

    def as_conversation(self, prompt: Prompt) -> Prompt:
        """`prompt` as the user's turn, behind the system's."""
        opening = () if self.system is None else (Message(role="system", content=self.system),)
        turns = prompt.messages or (Message(role="user", content=prompt.text),)
        if opening and turns[0].role == "system":
            raise ConfigError("and a system message of prompts cannot both be given", "system")
        return Prompt(messages=(*opening, *turns), notes=prompt.notes, where=prompt.where)
