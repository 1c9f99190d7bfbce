"""The samples of an engine: those that run, those that wait, and the events that tell of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepseek_lab.generation.noise import Counter
from deepseek_lab.generation.request import Completion, Request, Token, TokenLogprobs

_PREFILL_TOKENS = 8192
"""Tokens of several prompts read in one forward: bounds its memory."""


@dataclass
class Row:
    """One sample that runs, and what it has."""

    handle: int
    sample: int
    request: Request
    prompt_own: tuple[TokenLogprobs, ...] = ()
    routing: list[Tensor] = field(default_factory=list)
    """(t, L, K) experts of the tokens read so far, where they are recorded."""
    ids: list[int] = field(default_factory=list)

    @property
    def has_penalty(self) -> bool:
        """Whether what it has seen counts."""
        return self.request.sampling.repetition_penalty != 1

    def counter(self, place: int = 0) -> Counter:
        """Of the noise of the new token that comes after `place` more."""
        return self.request.seed, self.sample, len(self.ids) + place

    @property
    def n_seen(self) -> int:
        """Tokens of both."""
        return len(self.request.prompt) + len(self.ids)

    @property
    def seen(self) -> list[int]:
        """Prompt and completion."""
        return [*self.request.prompt, *self.ids]

    def take(self, token: int, logprob: float, own: TokenLogprobs | None = None) -> Token:
        """One more token, as an event that says whether it is the last."""
        self.ids.append(token)
        reason = "length" if len(self.ids) == self.request.max_new_tokens else None
        reason = "stop" if token in self.request.stop_ids else reason
        return Token(
            handle=self.handle,
            sample=self.sample,
            index=len(self.ids) - 1,
            id=token,
            logprob=logprob,
            finish_reason=reason,
            own=own,
            prompt_own=self.prompt_own if len(self.ids) == 1 else (),
            routing=torch.cat(self.routing).cpu() if reason and self.routing else None,
        )


@dataclass
class Waiting:
    """A request of which samples have not started."""

    handle: int
    request: Request
    started: int = 0

    @property
    def left(self) -> int:
        """Samples that have not started."""
        return self.request.n - self.started


Admitted = tuple[Waiting, int]
"""A request and how many of its samples start now."""


def batches(wave: Sequence[Admitted], alone: bool) -> Iterator[list[Admitted]]:
    """Prompts that are read together: no more tokens, padding included, than one forward should hold."""
    some: list[Admitted] = []
    for each in wave:
        longest = max(len(waiting.request.prompt) for waiting, _ in [*some, each])
        if some and (alone or longest * (len(some) + 1) > _PREFILL_TOKENS):
            yield some
            some = []
        some.append(each)
    if some:
        yield some


def end_of(handle: int, sample: int, index: int, reason: str, error: str | None = None) -> Token:
    """The event of a sample that ends without a token."""
    return Token(handle=handle, sample=sample, index=index, id=-1, logprob=0.0, finish_reason=reason, error=error)


def completion_of(tokens: Sequence[Token]) -> Completion:
    """A sample from all its events."""
    last = tokens[-1]
    assert last.finish_reason is not None, "the engine has stopped, so every sample has ended"
    real = [token for token in tokens if token.id >= 0]
    return Completion(
        ids=tuple(token.id for token in real),
        logprobs=tuple(token.logprob for token in real),
        finish_reason=last.finish_reason,
        error=last.error,
        routing=last.routing,
    )
