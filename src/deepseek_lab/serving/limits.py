"""What one client may ask of the server: every number that bounds a request, in one place."""

from dataclasses import dataclass

from deepseek_lab.config import CheckedConfig

LENGTH = 512
"""Tokens of a response where neither a request nor the model's files say anything."""


@dataclass(frozen=True, kw_only=True)
class Limits(CheckedConfig):
    """Each at least 1.

    max_new_tokens: the most a request may ask for; default_new_tokens: where it does not say, null leaves
        that to the model
    n: responses to one prompt; prompts: of one /v1/completions request
    stops, stop_characters: stop strings and the length of each
    messages: of one conversation; body_bytes, header_bytes: of one HTTP request
    queue: requests accepted at a time, running or waiting; connections: open at a time
    idle_seconds: how long a client may neither send the rest of its request nor take its answer
    """

    max_new_tokens: int = 4096
    default_new_tokens: int | None = 512
    n: int = 8
    prompts: int = 16
    stops: int = 4
    stop_characters: int = 200
    messages: int = 256
    body_bytes: int = 1_000_000
    header_bytes: int = 16_384
    queue: int = 64
    connections: int = 128
    idle_seconds: int = 30

    def check(self) -> None:
        self.require_positive(*self.__dataclass_fields__)
