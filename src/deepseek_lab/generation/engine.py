"""Requests decoded side by side: rows join while others run, leave when they end, and wait when memory is short.

Each `step` first takes in waiting requests, then has the rows that run go on (`running`). A row's noise is its own
(`noise`), so what else is decoded changes its text only through the rounding of products of another shape.
`batch_invariant` decodes every row alone: equal to the bit in any company, at the price of a forward a row.

Left out: threads (one caller at a time), and several devices.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch

from deepseek_lab.generation.compiled import compiled_decode_one
from deepseek_lab.generation.request import Completion, Request, Token
from deepseek_lab.generation.running import RunningRows
from deepseek_lab.generation.samples import Admitted, Waiting, batches, completion_of, end_of
from deepseek_lab.model.linear import decoding
from deepseek_lab.model.transformer import Transformer

Progress = Callable[[int, int], None]
"""Called with finished and all samples."""


class Engine:
    """Decodes requests with a model, which is left in the mode (training or evaluation) it was in. Its weights may
    change while nothing runs; on a CPU copies of them in other layouts may take their memory once more (`Prepared`).

    max_rows: samples decoded at once
    cache_bytes: what their caches may take together; further requests wait. None: as much as max_rows need
    batch_invariant: results equal to the bit whatever else is decoded
    speculative_depth: tokens that the MTP modules draft ahead of each forward; 0 drafts none. The distribution of
        what is sampled stays the same, the text of a seed does not
    compile: decoding steps through `torch.compile` (`compiled`): seconds to a minute at first, several times as fast
        for a row or a few
    record_routing: completions tell which experts read them (`Completion.routing`)
    """

    def __init__(
        self,
        model: Transformer,
        *,
        max_rows: int = 64,
        cache_bytes: int | None = None,
        batch_invariant: bool = False,
        speculative_depth: int = 0,
        compile: bool = False,
        record_routing: bool = False,
    ) -> None:
        if max_rows < 1:
            raise ValueError(f"max_rows must be at least 1, not {max_rows}")
        if not 0 <= speculative_depth <= len(model.mtp):
            modules = f"the model has {len(model.mtp)} MTP modules"
            raise ValueError(f"speculative_depth must be at least 0 and {modules}, not {speculative_depth}")
        if speculative_depth and batch_invariant:
            raise ValueError("speculative_depth feeds rows together, batch_invariant alone: one of the two")
        if speculative_depth and compile:
            raise ValueError("compile is for steps of one token, speculative_depth takes several: one of the two")
        if record_routing and (speculative_depth or compile or not model.routers()):
            raise ValueError("record_routing needs a mixture of experts, and neither drafts nor a compiled step")
        self.model, self.batch_invariant = model, batch_invariant
        compiled = compiled_decode_one() if compile else None
        self._running = RunningRows(
            model, max_rows, cache_bytes, batch_invariant, speculative_depth, compiled, record_routing
        )
        self._handles = itertools.count()
        self._waiting: deque[Waiting] = deque()
        self._ended: list[Token] = []

    @property
    def busy(self) -> bool:
        """Whether a step would do something."""
        return bool(self._running.rows or self._waiting or self._ended)

    @property
    def cache_bytes_used(self) -> int:
        """Bytes of the caches that stand now; 0 when nothing runs."""
        return self._running.n_bytes

    @property
    def acceptance(self) -> dict[str, float]:
        """`mtp/acceptance_k`: the share of drafts of depth k that were kept, of those whose predecessors were."""
        pairs = enumerate(zip(self._running.accepted, self._running.drafted, strict=True), 1)
        return {f"mtp/acceptance_{depth}": kept / drafted for depth, (kept, drafted) in pairs if drafted}

    def submit(self, request: Request) -> int:
        """Queues a request -> its handle. Raises ValueError, in one line, for what cannot be answered."""
        self._require_answerable(request)
        handle = next(self._handles)
        self._waiting.append(Waiting(handle, request))
        return handle

    def cancel(self, handle: int) -> None:
        """Frees the rows of a request at once and forgets what of it waits; the next step says so."""
        running = [row for row in self._running.rows if row.handle == handle]
        waiting = [waiting for waiting in self._waiting if waiting.handle == handle]
        started = [(row.sample, len(row.ids)) for row in running]
        never = [(sample, 0) for each in waiting for sample in range(each.started, each.request.n)]
        self._ended += [end_of(handle, sample, index, "cancelled") for sample, index in started + never]
        for row in running:
            self._running.drop(self._running.rows.index(row))
        self._waiting = deque(each for each in self._waiting if each.handle != handle)

    @torch.no_grad()
    def step(self) -> list[Token]:
        """One token for every row that runs, or with speculation some."""
        was_training = self.model.training
        if was_training:  # setting the mode walks all modules: a tenth of a small network's step
            self.model.eval()
        if not self._running.rows:
            self._running.prepare()
        try:
            with decoding(self._running.prepared):
                self._admit()
                events, self._ended = self._ended, []
                return events + self._running.step()
        finally:
            if was_training:
                self.model.train()

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
        if not self._running.rows_that_fit(0, request.cache_tokens):
            needed = self._running.bytes_of(1, request.cache_tokens)
            raise ValueError(f"a cache of {needed:,} bytes is needed, the engine has {self._running.budget:,}")

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
            self._running.read(some)

    def _room_for(self, waiting: Waiting, wave: Sequence[Admitted]) -> int:
        """How many of its samples can start now."""
        taken = len(self._running.rows) + sum(copies for _, copies in wave)
        asked = [waiting.request, *(each.request for each, _ in wave)]
        tokens = max([self._running.longest, *(request.cache_tokens for request in asked)])
        return min(waiting.left, self._running.rows_that_fit(taken, tokens))
