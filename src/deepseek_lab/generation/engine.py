"""Requests decoded side by side: rows join while others run, leave when they end, and wait when memory is short.

Each `step` first takes in waiting requests (a prompt is read once, whatever the number of its samples), then draws
one token for every row, and feeds the tokens of the rows that go on. A row's noise is its own (`noise`), so what else
is decoded changes its text only through the rounding of products of another shape. `batch_invariant` decodes every
row alone: equal to the bit in any company, at the price of a forward a row.

Left out: threads (one caller at a time), and several devices.

Shapes: B rows, V vocabulary.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from deepseek_lab.generation.decoding import decode_one, left_padded, prefill
from deepseek_lab.generation.distribution import drawn, penalised, probabilities
from deepseek_lab.generation.noise import uniform
from deepseek_lab.generation.request import Completion, Request, Token
from deepseek_lab.generation.row_cache import RowCache
from deepseek_lab.generation.samples import Admitted, Row, Waiting, batches, completion_of, end_of
from deepseek_lab.model.cache import Cache
from deepseek_lab.model.transformer import Transformer

Progress = Callable[[int, int], None]
"""Called with finished and all samples."""


class Engine:
    """Decodes requests with a model, which is left in the mode (training or evaluation) it was in.

    max_rows: samples decoded at once
    cache_bytes: what their caches may take together; further requests wait. None: as much as max_rows need
    batch_invariant: results equal to the bit whatever else is decoded
    """

    def __init__(
        self, model: Transformer, *, max_rows: int = 64, cache_bytes: int | None = None, batch_invariant: bool = False
    ) -> None:
        if max_rows < 1:
            raise ValueError(f"max_rows must be at least 1, not {max_rows}")
        self.model, self.batch_invariant = model, batch_invariant
        self.device = model.head_weight_VD.device
        self._cache = RowCache(model, max_rows, cache_bytes)
        self._handles = itertools.count()
        self._waiting: deque[Waiting] = deque()
        self._rows: list[Row] = []
        self._logits: list[Tensor] = []
        self._ended: list[Token] = []

    @property
    def busy(self) -> bool:
        """Whether a step would do something."""
        return bool(self._rows or self._waiting or self._ended)

    @property
    def cache_bytes_used(self) -> int:
        """Bytes of the caches that stand now; 0 when nothing runs."""
        return self._cache.n_bytes

    def submit(self, request: Request) -> int:
        """Queues a request -> its handle. Raises ValueError, in one line, for what cannot be answered."""
        self._require_answerable(request)
        handle = next(self._handles)
        self._waiting.append(Waiting(handle, request))
        return handle

    def cancel(self, handle: int) -> None:
        """Frees the rows of a request at once and forgets what of it waits; the next step says so."""
        running = [row for row in self._rows if row.handle == handle]
        waiting = [waiting for waiting in self._waiting if waiting.handle == handle]
        started = [(row.sample, len(row.ids)) for row in running]
        never = [(sample, 0) for each in waiting for sample in range(each.started, each.request.n)]
        self._ended += [end_of(handle, sample, index, "cancelled") for sample, index in started + never]
        for row in running:
            self._drop(self._rows.index(row))
        self._waiting = deque(each for each in self._waiting if each.handle != handle)

    @torch.no_grad()
    def step(self) -> list[Token]:
        """One token for every row that runs, in the order in which the rows stand."""
        was_training = self.model.training
        self.model.eval()
        try:
            self._admit()
            events, self._ended = self._ended, []
            if self._rows:
                going_on, tokens = self._draw()
                events += tokens
                self._feed(going_on)
            return events
        finally:
            self.model.train(was_training)

    def run(self, requests: Sequence[Request], progress: Progress | None = None) -> list[list[Completion]]:
        """Answers all requests -> their completions, by request and sample. Raises ValueError before it starts any."""
        for request in requests:
            self._require_answerable(request)
        handles = {self.submit(request): number for number, request in enumerate(requests)}
        drawn_so_far: dict[tuple[int, int], list[Token]] = {}
        done, n_samples = 0, sum(request.n for request in requests)
        while self.busy:
            for token in self.step():
                drawn_so_far.setdefault((handles.get(token.handle, -1), token.sample), []).append(token)
                done += token.finish_reason is not None
            if progress is not None:
                progress(done, n_samples)
        return [
            [completion_of(drawn_so_far[number, sample]) for sample in range(request.n)]
            for number, request in enumerate(requests)
        ]

    def stream(self, request: Request) -> Iterator[Token]:
        """The tokens of one request as they are drawn; leaving the loop cancels it."""
        handle, left = self.submit(request), request.n
        try:
            while left:
                for token in self.step():
                    if token.handle == handle:
                        left -= token.finish_reason is not None
                        yield token
        finally:
            if left:
                self.cancel(handle)

    def _require_answerable(self, request: Request) -> None:
        request.sampling.check()
        config, prompt = self.model.config, request.prompt
        if len(prompt) == 0:
            raise ValueError("a prompt holds no token")
        if request.max_new_tokens < 1 or request.n < 1:
            raise ValueError(f"at least one new token and one sample, not {request.max_new_tokens} and {request.n}")
        if min(prompt) < 0 or max(prompt) >= config.vocab_size:
            raise ValueError(f"token ids must lie in 0..{config.vocab_size - 1}, found {min(prompt)}..{max(prompt)}")
        if len(prompt) + request.max_new_tokens > config.max_seq_len:
            asked = f"{len(prompt)} prompt tokens and {request.max_new_tokens} new ones"
            raise ValueError(f"{asked} exceed the model's max_seq_len of {config.max_seq_len}")
        tokens = Waiting(-1, request).tokens
        if not self._cache.fits(1, tokens):
            needed = self._cache.bytes_of(1, tokens)
            raise ValueError(f"a cache of {needed:,} bytes is needed, the engine has {self._cache.budget:,}")

    def _admit(self) -> None:
        """Takes in what fits, in order: nobody who waits for room is overtaken."""
        wave: list[Admitted] = []
        while self._waiting:
            first = self._waiting[0]
            copies = self._room_for(first, wave)
            if copies == 0:
                break
            wave.append((first, copies))
            if copies < first.left:
                break
            self._waiting.popleft()
        for some in batches(wave, alone=self.batch_invariant):
            self._read(some)

    def _room_for(self, waiting: Waiting, wave: Sequence[Admitted]) -> int:
        """How many of its samples can start now."""
        taken = len(self._rows) + sum(copies for _, copies in wave)
        others = [Waiting(row.handle, row.request).tokens for row in self._rows] + [each.tokens for each, _ in wave]
        tokens = max([*others, waiting.tokens])
        fitting = [n for n in range(waiting.left, 0, -1) if self._cache.fits(taken + n, tokens)]
        return fitting[0] if fitting else 0

    def _read(self, wave: Sequence[Admitted]) -> None:
        """Prefills some prompts together and copies each one's cache to its samples."""
        prompts = [list(waiting.request.prompt) for waiting, _ in wave]
        ids_BT, valid_BT = left_padded(prompts, self.device)
        cache = self.model.new_cache(len(prompts), ids_BT.shape[1])
        logits_BV = prefill(self.model, ids_BT, cache, None if bool(valid_BT.all()) else valid_BT)
        rows = len(self._rows) + sum(copies for _, copies in wave)
        others = [Waiting(row.handle, row.request).tokens for row in self._rows]
        self._cache.make_room(rows, max([*others, *(waiting.tokens for waiting, _ in wave)]))
        for number, (waiting, copies) in enumerate(wave):
            self._cache.append(cache, number, copies)
            samples = range(waiting.started, waiting.started + copies)
            self._rows += [Row(waiting.handle, sample, waiting.request) for sample in samples]
            self._logits += [logits_BV[number]] * copies
            waiting.started += copies

    def _draw(self) -> tuple[list[int], list[Token]]:
        """One token a row -> the tokens of the rows that go on, and all as events; rows that end are dropped."""
        logits_BV = torch.stack(self._logits)
        token_B, logprob_B, usable_B = self._chosen(logits_BV)
        events, ended = [], []
        for number, (row, token) in enumerate(zip(self._rows, token_B, strict=True)):
            reason = row.finish(token) if usable_B[number] else "error"
            if reason == "error":
                at = f"logits at step {len(row.ids)} are not finite"
                events.append(end_of(row.handle, row.sample, len(row.ids), "error", at))
            else:
                events.append(
                    Token(
                        handle=row.handle,
                        sample=row.sample,
                        index=len(row.ids),
                        id=token,
                        logprob=logprob_B[number],
                        finish_reason=reason,
                    )
                )
                row.ids.append(token)
            ended += [number] if reason else []
        for number in reversed(ended):
            self._drop(number)
        return [row.ids[-1] for row in self._rows], events

    def _chosen(self, logits_BV: Tensor) -> tuple[list[int], list[float], list[bool]]:
        """Token, log-probability and whether the logits are numbers, of every row."""
        usable_B = logits_BV.isfinite().all(-1)
        logits_BV = torch.where(usable_B[:, None], logits_BV, torch.zeros_like(logits_BV))
        rules = [row.request.sampling for row in self._rows]
        heat_B1 = torch.tensor([[rule.temperature or 1.0] for rule in rules], device=self.device)
        wide = torch.promote_types(logits_BV.dtype, torch.float32)
        logprob_BV = (logits_BV.to(wide) / heat_B1).log_softmax(-1)
        asked_BV = penalised(logits_BV, rules, [row.seen if row.has_penalty else () for row in self._rows])
        if all(rule.temperature == 0 for rule in rules):
            token_B = asked_BV.argmax(-1)
        else:
            numbers = [uniform(row.request.seed, row.sample, len(row.ids)) for row in self._rows]
            aim_B = torch.tensor(numbers, dtype=torch.float64, device=self.device)
            token_B = drawn(probabilities(asked_BV, rules), aim_B)
        logprob_B = logprob_BV.gather(1, token_B[:, None]).squeeze(1)
        return token_B.tolist(), logprob_B.tolist(), usable_B.tolist()

    def _feed(self, tokens: Sequence[int]) -> None:
        """The next logits of all rows."""
        width = 1 if self.batch_invariant else max(1, len(tokens))
        self._logits = []
        for start in range(0, len(tokens), width):
            some = torch.tensor(tokens[start : start + width], device=self.device)
            cache: Cache = self._cache.rows(start, start + len(some))
            self._logits += list(decode_one(self.model, some, cache).unbind(0))
            self._cache.advance(start, cache)

    def _drop(self, number: int) -> None:
        """Removes a row as its cache does: the last takes its place."""
        self._cache.remove(number)
        self._rows[number], self._logits[number] = self._rows[-1], self._logits[-1]
        self._rows.pop()
        self._logits.pop()
