"""The routes: models, chat completions, completions, health and the page."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from deepseek_lab.config import nearest
from deepseek_lab.generation import Sampling
from deepseek_lab.serving.access import Access
from deepseek_lab.serving.answers import Answer, prepare
from deepseek_lab.serving.engine_thread import EngineFailure, EngineThread, QueueFull
from deepseek_lab.serving.guard import Guard
from deepseek_lab.serving.limits import Limits
from deepseek_lab.serving.page import page_response
from deepseek_lab.serving.questions import ChatQuestion, Question, TextQuestion
from deepseek_lab.serving.refusals import Refusal
from deepseek_lab.serving.speaker import Speaker
from deepseek_lab.serving.streaming import ClientLeft, EventStream, event, unless_gone
from deepseek_lab.serving.wire import Wire
from deepseek_lab.text.chat import Message
from deepseek_lab.text.reasoning import Parts
from deepseek_lab.text.template_sandbox import TemplateError


@contextmanager
def refusing() -> Iterator[None]:
    """Turns what can go wrong with a request into what its client is told."""
    try:
        yield
    except QueueFull:
        raise Refusal(429, "too many requests are running; try again", code="queue_full") from None
    except TemplateError as error:
        raise Refusal(400, str(error), "messages") from None
    except EngineFailure as error:
        raise Refusal(500, str(error), code="generation_failed") from None
    except ValueError as error:
        raise Refusal(400, str(error)) from None


class Service:
    """One model behind the API."""

    def __init__(self, speaker: Speaker, thread: EngineThread, limits: Limits, defaults: Sampling) -> None:
        self._speaker, self._thread, self._limits, self._defaults = speaker, thread, limits, defaults

    def models(self) -> dict[str, Any]:
        """What /v1/models lists."""
        own = {"id": self._speaker.name, "object": "model", "created": 0, "owned_by": "deepseek-lab"}
        return {"object": "list", "data": [{**own, "max_model_len": self._speaker.max_seq_len}]}

    def health(self) -> dict[str, Any]:
        """Requests in work and the bytes of their caches."""
        used = self._thread.engine.cache_bytes_used
        return {"status": "ok", "requests": self._thread.open_requests, "cache_bytes": used}

    def require_model(self, name: str) -> None:
        """Raises Refusal for a model that is not this one."""
        own = self._speaker.name
        if name != own:
            meant = nearest(name[:100], [own]) or f"; it is {own!r}"
            raise Refusal(404, f"no model {name[:100]!r} here{meant}", "model", "model_not_found")

    async def chat(self, question: ChatQuestion) -> Answer:
        """A conversation's answer, not yet begun."""
        if len(question.messages) > self._limits.messages:
            raise Refusal(400, f"messages must be at most {self._limits.messages}", "messages")
        wanted = question.chat_template_kwargs
        asked = (wanted.thinking, wanted.enable_thinking) if wanted else ()
        thinking = next((value for value in asked if value is not None), None)
        messages = [
            Message(
                role="system" if turn.role == "developer" else turn.role,
                content=turn.text,
                reasoning=turn.reasoning_content or "",
            )
            for turn in question.messages
        ]
        prompt = await asyncio.to_thread(self._speaker.chat.prompt, messages, thinking)
        return self._prepared(question, [prompt.ids], True, prompt.opens_thought)

    async def text(self, question: TextQuestion) -> Answer:
        """A continuation of prompts, not yet begun."""
        prompts = question.prompts
        if not 1 <= len(prompts) <= self._limits.prompts:
            raise Refusal(400, f"prompt must be 1 to {self._limits.prompts} prompts", "prompt")
        encode = self._speaker.chat.encode_prompt
        ids = [await asyncio.to_thread(encode, p) if isinstance(p, str) else p for p in prompts]
        return self._prepared(question, ids, False, False)

    def _prepared(self, question: Question, prompts: list[list[int]], split: bool, thinking: bool) -> Answer:
        return prepare(question, prompts, self._speaker, self._limits, self._defaults, split, thinking)

    async def answered(self, question: Question, request: Request) -> Response:
        """The whole way from a question to its response."""
        self.require_model(question.model)
        with refusing():
            chat = isinstance(question, ChatQuestion)
            answer = await (self.chat(question) if isinstance(question, ChatQuestion) else self.text(question))  # type: ignore[arg-type]
            wire = Wire(self._speaker.name, chat)
            if not question.stream:
                return JSONResponse(await unless_gone(request.receive, self._whole(answer, wire)))
            usage = question.stream_options is not None and question.stream_options.include_usage
            events = self._events(answer, wire, usage)
            first = await unless_gone(request.receive, anext(events))  # errors so far have a status of their own
        return EventStream(_with_first(first, events))

    async def _whole(self, answer: Answer, wire: Wire) -> dict[str, Any]:
        said = [Parts() for _ in answer.choices]
        async with aclosing(answer.pieces(self._thread)) as pieces:
            async for choice, parts in pieces:
                said[choice.index] += parts
        return wire.whole(answer.choices, said, answer.usage)

    async def _events(self, answer: Answer, wire: Wire, usage: bool) -> AsyncGenerator[bytes, None]:
        opened: set[int] = set()
        async with aclosing(answer.pieces(self._thread)) as pieces:
            async for choice, parts in pieces:
                if wire.chat and choice.index not in opened:
                    opened.add(choice.index)
                    yield event(wire.opening(choice))
                if parts != Parts():
                    yield event(wire.chunk(choice, parts))
                if choice.finish_reason is not None:
                    yield event(wire.ending(choice))
        if usage:
            yield event(wire.usage(answer.usage))
        yield b"data: [DONE]\n\n"


async def _with_first(first: bytes, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """`events` with the one taken before; an error from here on is an event, since the status is sent."""
    async with aclosing(events):
        yield first
        try:
            with refusing():
                async for line in events:
                    yield line
        except Refusal as refusal:
            yield event(refusal.body)


def make_app(service: Service, access: Access, limits: Limits) -> ASGIApp:
    """The guarded application."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/")
    async def page() -> Response:
        return page_response()

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return service.health()

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return service.models()

    @app.get("/v1/models/{name}")
    async def model(name: str) -> Any:
        service.require_model(name)
        return service.models()["data"][0]

    @app.post("/v1/chat/completions")
    async def chat(question: ChatQuestion, request: Request) -> Response:
        return await service.answered(question, request)

    @app.post("/v1/completions")
    async def completions(question: TextQuestion, request: Request) -> Response:
        return await service.answered(question, request)

    _add_errors(app)
    return Guard(app, access, limits)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return error.response()

    @app.exception_handler(ClientLeft)
    async def left(request: Request, error: ClientLeft) -> Response:
        return Response(status_code=499)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _described(error).response()

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        return Refusal(error.status_code, str(error.detail)).response()

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return Refusal(500, "a fault of the server; its log says more").response()


def _described(error: RequestValidationError) -> Refusal:
    """The first thing that is wrong with a body, with the nearest right name of an unknown field."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    param = ".".join(place)[:100]
    if first["type"] == "extra_forbidden":
        known = {*ChatQuestion.model_fields, *TextQuestion.model_fields}
        return Refusal(400, f"{param} is no field of this server{nearest(place[-1][:100], known)}", param)
    return Refusal(400, f"{param}: {first['msg']}".strip(": "), param or None)
