"""Requests decoded side by side, one token a step, each row on a cache of its own.

The simplest engine with the interface that its users need: submit, step, cancel. A row is the same whatever is
decoded beside it (`batch_invariant` asks for nothing more). Left out, and refused: a cache budget, compilation and
speculation; rows do not share a forward pass, nor samples their prompt.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.generation.generate import decode_one, prefill
from deepseek_lab.model.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class Sampling:
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def check(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature must not be negative, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p must be from 0 to 1, not {self.min_p}")
        if not self.repetition_penalty > 0:
            raise ValueError(f"repetition_penalty must be above 0, not {self.repetition_penalty}")


GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True)
class Request:
    prompt: Sequence[int]
    max_new_tokens: int
    sampling: Sampling = GREEDY
    stop_ids: frozenset[int] = frozenset()
    seed: int = 0
    n: int = 1


@dataclass(frozen=True)
class Token:
    handle: int
    sample: int
    index: int
    id: int
    logprob: float
    finish_reason: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Completion:
    ids: list[int]
    logprobs: list[float]
    finish_reason: str


@dataclass
class _Row:
    handle: int
    sample: int
    request: Request
    generator: torch.Generator
    cache: Any = None
    logits: Tensor | None = None
    ids: list[int] = field(default_factory=list)


class Engine:
    def __init__(
        self,
        model: Transformer,
        max_rows: int = 64,
        cache_bytes: int | None = None,
        batch_invariant: bool = False,
        compile: bool = False,
        speculative_depth: int = 0,
    ) -> None:
        for name, value in (
            ("cache_bytes", cache_bytes),
            ("compile", compile),
            ("speculative_depth", speculative_depth),
        ):
            if value:
                raise ValueError(f"{name} is not offered by this engine yet")
        self.model, self.max_rows = model, max_rows
        self.device = model.head_weight_VD.device
        self._handles = itertools.count()
        self._waiting: list[_Row] = []
        self._rows: list[_Row] = []

    @property
    def busy(self) -> bool:
        return bool(self._rows or self._waiting)

    @property
    def cache_bytes_used(self) -> int:
        return sum(row.cache.n_bytes for row in self._rows)

    def submit(self, request: Request) -> int:
        request.sampling.check()
        if not request.prompt:
            raise ValueError("a prompt holds no token")
        if min(request.prompt) < 0 or max(request.prompt) >= self.model.config.vocab_size:
            raise ValueError("token ids out of range")
        if len(request.prompt) + request.max_new_tokens > self.model.config.max_seq_len:
            raise ValueError("prompt and new tokens exceed max_seq_len")
        handle = next(self._handles)
        for k in range(request.n):
            generator = torch.Generator().manual_seed(request.seed * 1000 + k)
            self._waiting.append(_Row(handle, k, request, generator))
        return handle

    def cancel(self, handle: int) -> None:
        self._rows = [r for r in self._rows if r.handle != handle]
        self._waiting = [r for r in self._waiting if r.handle != handle]

    @torch.no_grad()
    def step(self) -> list[Token]:
        while self._waiting and len(self._rows) < self.max_rows:
            row = self._waiting.pop(0)
            ids = torch.tensor([list(row.request.prompt)], device=self.device)
            row.cache = self.model.new_cache(1, ids.shape[1] + row.request.max_new_tokens)
            row.logits = prefill(self.model, ids, row.cache)
            self._rows.append(row)
        return [self._next(row) for row in list(self._rows)]

    def _next(self, row: _Row) -> Token:
        assert row.logits is not None
        if not bool(row.logits.isfinite().all()):
            self._rows.remove(row)
            error = f"NaN or infinite logits at step {len(row.ids)}"
            return Token(row.handle, row.sample, len(row.ids), -1, 0.0, "error", error)
        token, logprob = _drawn(row)
        row.ids.append(token)
        reason = "stop" if token in row.request.stop_ids else None
        if reason is None and len(row.ids) == row.request.max_new_tokens:
            reason = "length"
        if reason is None:
            row.logits = decode_one(self.model, torch.tensor([token], device=self.device), row.cache)
        else:
            self._rows.remove(row)
        return Token(row.handle, row.sample, len(row.ids) - 1, token, logprob, reason)

    def run(self, requests: Sequence[Request], progress: Any = None) -> list[list[Completion]]:
        handles = {self.submit(r): i for i, r in enumerate(requests)}
        found: list[list[Any]] = [[([], []) for _ in range(r.n)] for r in requests]
        reasons: dict[tuple[int, int], str] = {}
        while self.busy:
            for t in self.step():
                ids, logprobs = found[handles[t.handle]][t.sample]
                ids.append(t.id)
                logprobs.append(t.logprob)
                if t.finish_reason:
                    reasons[handles[t.handle], t.sample] = t.finish_reason
        return [
            [Completion(*pair, reasons[i, k]) for k, pair in enumerate(row)]  # type: ignore[call-arg]
            for i, row in enumerate(found)
        ]

    def stream(self, request: Request) -> Iterator[Token]:
        handle = self.submit(request)
        try:
            while self.busy:
                yield from (t for t in self.step() if t.handle == handle)
        finally:
            with contextlib.suppress(KeyError):
                self.cancel(handle)


def _drawn(row: _Row) -> tuple[int, float]:
    """The next token and its log-probability under the temperature, before the filters."""
    assert row.logits is not None
    sampling = row.request.sampling
    logits_V = row.logits[0].double().cpu()
    seen = torch.tensor(sorted({*row.request.prompt, *row.ids}))
    penalised = logits_V[seen]
    penalty = sampling.repetition_penalty
    logits_V[seen] = torch.where(penalised > 0, penalised / penalty, penalised * penalty)
    if sampling.temperature == 0:
        token = int(logits_V.argmax())
        return token, float(logits_V.log_softmax(-1)[token])
    logp_V = (logits_V / sampling.temperature).log_softmax(-1)
    token = int(torch.multinomial(_filtered(logp_V.exp(), sampling), 1, generator=row.generator))
    return token, float(logp_V[token])


def _filtered(probabilities_V: Tensor, sampling: Sampling) -> Tensor:
    """The probabilities that top-k, top-p and min-p leave, not normalised again."""
    sorted_V, order_V = probabilities_V.sort(descending=True, stable=True)
    keep_V = sorted_V >= sampling.min_p * sorted_V[0]
    keep_V &= sorted_V.cumsum(0) - sorted_V < sampling.top_p
    if sampling.top_k is not None:
        keep_V[sampling.top_k :] = False
    return torch.zeros_like(probabilities_V).scatter(0, order_V, sorted_V * keep_V)
