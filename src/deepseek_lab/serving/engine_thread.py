"""One thread that steps the engine, and the way in and out of it for a server of coroutines.

The engine is not made for several threads and a step takes as long as it takes, so it runs on a thread of its
own; requests and cancellations reach it through a queue between two steps, tokens go back to the event loop.
"""

import asyncio
import contextlib
import queue
import sys
import threading
import traceback
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from functools import partial

from deepseek_lab.generation import Engine, Request, Token


class QueueFull(Exception):
    """More requests than the server takes at a time."""


class EngineFailure(Exception):
    """The engine gave up on a request: NaN logits, out of memory, a fault."""


Sink = Callable[[list[Token] | Exception], None]
_Arrival = list[tuple[int, Token]] | Exception


class EngineThread:
    """Runs requests on `engine`; at most `most` at a time, running or waiting."""

    def __init__(self, engine: Engine, most: int) -> None:
        self.engine = engine
        self._most = most
        self._open = 0
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._sinks: dict[int, tuple[Sink, int]] = {}
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def open_requests(self) -> int:
        """Requests running or waiting."""
        return self._open

    async def tokens(self, requests: Sequence[Request]) -> AsyncGenerator[list[tuple[int, Token]], None]:
        """The tokens of all samples as they come, each with the place of its request; leaving early frees the rows.

        Raises QueueFull, ValueError for a request that cannot run, EngineFailure.
        """
        if self._open + len(requests) > self._most:
            raise QueueFull
        self._open += len(requests)
        loop, arrived = asyncio.get_running_loop(), asyncio.Queue[_Arrival]()
        orders = [self._order(request, _into(loop, arrived, place)) for place, request in enumerate(requests)]
        try:
            for submitted in orders:
                await asyncio.shield(asyncio.wrap_future(submitted))
            running = sum(request.n for request in requests)
            while running:
                tokens = await arrived.get()
                if isinstance(tokens, Exception):
                    raise tokens
                running -= sum(token.finish_reason is not None for _, token in tokens)
                yield tokens
        finally:
            for submitted in orders:
                self._orders.put(partial(self._cancel, submitted))
            self._open -= len(requests)

    def close(self) -> None:
        """Ends the thread after its step."""
        self._orders.put(None)
        self._thread.join()

    def _order(self, request: Request, sink: "Sink") -> "Future[int]":
        """Has the engine's thread submit a request; the future holds its handle, or why there is none."""
        submitted: Future[int] = Future()
        self._orders.put(partial(self._submit, request, submitted, sink))
        return submitted

    def _submit(self, request: Request, submitted: "Future[int]", sink: Sink) -> None:
        try:
            handle = self.engine.submit(request)
        except Exception as error:
            submitted.set_exception(error)
        else:
            self._sinks[handle] = (sink, request.n)
            submitted.set_result(handle)

    def _cancel(self, submitted: "Future[int]") -> None:
        """Frees the rows of a request that has not come to its end."""
        if submitted.exception() is None and self._sinks.pop(submitted.result(), None) is not None:
            self.engine.cancel(submitted.result())

    def _run(self) -> None:
        while True:
            while not self._orders.empty() or not self.engine.busy:
                order = self._orders.get()
                if order is None:
                    return
                order()
            try:
                self._deliver(self.engine.step())
            except Exception as error:
                traceback.print_exc(file=sys.stderr)
                self._give_up(error)

    def _deliver(self, tokens: list[Token]) -> None:
        of_handle: dict[int, list[Token]] = defaultdict(list)
        for token in tokens:
            of_handle[token.handle].append(token)
        for handle, own in of_handle.items():
            if handle not in self._sinks:
                continue
            sink, running = self._sinks[handle]
            failed = next((token for token in own if token.finish_reason == "error"), None)
            sink(EngineFailure(failed.error or "generation failed") if failed else own)
            running -= sum(token.finish_reason is not None for token in own)
            if running:
                self._sinks[handle] = (sink, running)
            else:
                del self._sinks[handle]

    def _give_up(self, error: Exception) -> None:
        """A step that raises ends every request, so that none waits forever; the next ones find an empty engine."""
        for handle, (sink, _) in list(self._sinks.items()):
            self.engine.cancel(handle)
            sink(EngineFailure(f"the engine failed: {type(error).__name__}"))
        self._sinks.clear()


def _into(loop: asyncio.AbstractEventLoop, arrived: "asyncio.Queue[_Arrival]", place: int) -> Sink:
    """Puts what the engine's thread says into a queue of the loop; silent once the loop is closed."""

    def sink(tokens: list[Token] | Exception) -> None:
        tagged = tokens if isinstance(tokens, Exception) else [(place, token) for token in tokens]
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(arrived.put_nowait, tagged)

    return sink
