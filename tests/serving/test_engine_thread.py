"""The engine's thread: what a request hears when its engine fails, and that leaving frees its rows."""

import asyncio
import time
from contextlib import aclosing

import pytest

from deepseek_lab.generation import Request, Token
from deepseek_lab.serving.engine_thread import EngineFailure, EngineThread, QueueFull


class ScriptedEngine:
    """Gives every request one token a step until `length`; `fault` is raised, or told, at a step."""

    def __init__(self, length=5, fault=None, told=None):
        self.length, self.fault, self.told = length, fault, told
        self.running, self.cancelled, self.next = {}, [], 0

    @property
    def busy(self):
        return bool(self.running)

    def submit(self, request):
        if not request.prompt:
            raise ValueError("a prompt holds no token")
        self.running[self.next] = 0
        self.next += 1
        return self.next - 1

    def cancel(self, handle):
        self.cancelled.append(handle)
        self.running.pop(handle, None)

    def step(self):
        time.sleep(0.001)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return [self._token(handle) for handle in list(self.running)]

    def _token(self, handle):
        index = self.running[handle]
        self.running[handle] += 1
        if handle == 0 and self.told is not None:
            del self.running[handle]
            return Token(
                handle=handle, sample=0, index=index, id=-1, logprob=0.0, finish_reason="error", error=self.told
            )
        done = index + 1 == self.length
        if done:
            del self.running[handle]
        return Token(
            handle=handle, sample=0, index=index, id=index, logprob=-1.0, finish_reason="length" if done else None
        )


REQUEST = Request(prompt=[1], max_new_tokens=5)


@pytest.fixture
def threaded():
    made = []

    def make(most=4, **settings):
        made.append(EngineThread(ScriptedEngine(**settings), most))
        return made[-1]

    yield make
    for thread in made:
        thread.close()


async def ids(thread, *requests):
    async with aclosing(thread.tokens(requests or [REQUEST])) as stream:
        return [(place, token.id) async for tokens in stream for place, token in tokens]


def test_tokens_of_several_requests_come_with_their_places(threaded):
    found = asyncio.run(ids(threaded(), REQUEST, REQUEST))
    assert sorted(found) == [(place, i) for place in (0, 1) for i in range(5)]


def test_a_request_that_cannot_run_is_refused_and_the_others_run(threaded):
    thread = threaded()
    with pytest.raises(ValueError, match="no token"):
        asyncio.run(ids(thread, REQUEST, Request(prompt=[], max_new_tokens=5)))
    assert len(asyncio.run(ids(thread))) == 5
    assert thread.open_requests == 0


def test_leaving_early_cancels(threaded):
    thread = threaded(length=10**9)

    async def leave():
        async with aclosing(thread.tokens([REQUEST, REQUEST])) as stream:
            await anext(stream)

    asyncio.run(leave())
    end = time.monotonic() + 10
    while len(thread.engine.cancelled) < 2 and time.monotonic() < end:
        time.sleep(0.001)
    assert sorted(thread.engine.cancelled) == [0, 1]
    assert not thread.engine.busy
    assert thread.open_requests == 0


def test_a_full_queue_refuses(threaded):
    thread = threaded(most=1, length=10**9)

    async def two():
        async with aclosing(thread.tokens([REQUEST])) as stream:
            await anext(stream)
            with pytest.raises(QueueFull):
                await ids(thread)

    asyncio.run(two())


def test_an_error_of_one_row_is_told_to_its_request_alone(threaded):
    thread = threaded(told="NaN logits at step 3")

    async def both():
        return await asyncio.gather(ids(thread), ids(thread), return_exceptions=True)

    first, second = asyncio.run(both())
    assert isinstance(first, EngineFailure)
    assert str(first) == "NaN logits at step 3"
    assert len(second) == 5


def test_a_step_that_raises_ends_what_runs_and_the_next_request_is_served(threaded, capfd):
    thread = threaded(fault=RuntimeError("a fault"))
    with pytest.raises(EngineFailure, match="the engine failed: RuntimeError"):
        asyncio.run(ids(thread))
    assert len(asyncio.run(ids(thread))) == 5
    assert "a fault" in capfd.readouterr().err
