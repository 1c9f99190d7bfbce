"""The routes: models, chat completions, completions, health and the page."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from deepseek_lab.config import nearest
from deepseek_lab.generation import Sampling
from deepseek_lab.serving.access import Access
from deepseek_lab.serving.answers import Answer, Piece, prepare
from deepseek_lab.serving.engine_thread import EngineFailure, EngineThread, QueueFull
from deepseek_lab.serving.guard import Guard
from deepseek_lab.serving.limits import Limits
from deepseek_lab.serving.logprobs import TokenNames, echo_of
from deepseek_lab.serving.page import page_response
from deepseek_lab.serving.questions import ChatQuestion, Question, TextQuestion, read_question
from deepseek_lab.serving.refusals import Refusal
from deepseek_lab.serving.speaker import Speaker
from deepseek_lab.serving.streaming import ClientLeft, EventStream, event, unless_gone
from deepseek_lab.serving.wire import Wire
from deepseek_lab.text.chat import Message
from deepseek_lab.text.template_sandbox import TemplateError


@contextmanager
def refusing(asked: str) -> Iterator[None]:
    """Turns what can go wrong with a request into what its client is told; `asked` is the field of its prompt."""
    try:
        yield
    except QueueFull:
        raise Refusal(429, "too many requests are running; try again", code="queue_full") from None
    except TemplateError as error:
        raise Refusal(400, str(error), asked) from None
    except EngineFailure as error:
        raise Refusal(500, str(error), code="generation_failed") from None
    except ValueError as error:
        raise Refusal(400, f"{asked}: {error}", asked) from None


class Service:
    """One model behind the API."""

    def __init__(self, speaker: Speaker, thread: EngineThread, limits: Limits, defaults: Sampling) -> None:
        self._speaker, self._thread, self._limits, self._defaults = speaker, thread, limits, defaults
        self._names = TokenNames(speaker.tokenizer)

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
        messages = [
            Message(
                role="system" if turn.role == "developer" else turn.role,
                content=turn.text,
                reasoning="" if turn.reasoning_content is None else turn.reasoning_content,
                name="" if turn.name is None else turn.name,
            )
            for turn in question.messages
        ]
        prompt = await asyncio.to_thread(self._speaker.chat.prompt, messages, question.thinking)
        if prompt.opens_thought and question.reasoning_effort is not None:
            raise Refusal(
                400, "reasoning_effort is 'none', but this model always begins with a thought", "reasoning_effort"
            )
        return self._prepared(question, [prompt.ids], True, prompt.opens_thought)

    async def text(self, question: TextQuestion) -> Answer:
        """A continuation of prompts, not yet begun."""
        prompts = question.prompt
        if not 1 <= len(prompts) <= self._limits.prompts:
            raise Refusal(400, f"prompt must be 1 to {self._limits.prompts} prompts", "prompt")
        ids = [await asyncio.to_thread(self._ids, prompt) for prompt in prompts]
        answer = self._prepared(question, ids, False, False)
        if question.echo:
            self._echo(answer, question)
        return answer

    def _ids(self, prompt: str | list[int] | None) -> list[int]:
        """No prompt is the beginning of a document, as OpenAI has it."""
        tokenizer = self._speaker.tokenizer
        if prompt is None:
            return list(tokenizer.prefix_ids) or [tokenizer.eos_id]
        return prompt if isinstance(prompt, list) else self._speaker.chat.encode_prompt(prompt)

    def _echo(self, answer: Answer, question: TextQuestion) -> None:
        """Has each response begin with its prompt; control tokens show where the prompt was given as ids."""
        for choice in answer.choices:
            place = choice.index // question.n_samples
            shown = self._speaker.tokenizer.special_ids if isinstance(question.prompt[place], list) else ()
            choice.echo = echo_of(self._speaker.tokenizer, answer.prompts[place], shown)

    def _prepared(self, question: Question, prompts: list[list[int]], split: bool, thinking: bool) -> Answer:
        return prepare(question, prompts, self._speaker, self._limits, self._defaults, split, thinking)

    async def answered(self, question: ChatQuestion | TextQuestion, request: Request) -> Response:
        """The whole way from a question to its response."""
        self.require_model(question.model)
        with refusing(question.ASKED):
            chat = isinstance(question, ChatQuestion)
            answer = await (self.chat(question) if isinstance(question, ChatQuestion) else self.text(question))
            wire = Wire(self._speaker.name, chat, None if question.n_logprobs is None else self._names)
            if not question.stream:
                return JSONResponse(await unless_gone(request.receive, self._whole(answer, wire)))
            events = self._events(answer, wire, question.usage_streamed)
            first = await unless_gone(request.receive, anext(events))  # errors so far have a status of their own
        return EventStream(_with_first(first, events, question.ASKED))

    async def _whole(self, answer: Answer, wire: Wire) -> dict[str, Any]:
        said = [Piece() for _ in answer.choices]
        async with aclosing(answer.pieces(self._thread)) as pieces:
            async for choice, piece in pieces:
                said[choice.index] += piece
        return wire.whole(answer.choices, said, answer.usage)

    async def _events(self, answer: Answer, wire: Wire, usage: bool) -> AsyncGenerator[bytes, None]:
        opened: set[int] = set()
        async with aclosing(answer.pieces(self._thread)) as pieces:
            async for choice, piece in pieces:
                if wire.chat and choice.index not in opened:
                    opened.add(choice.index)
                    yield event(wire.opening(choice))
                if piece:
                    yield event(wire.chunk(choice, piece))
                if choice.finish_reason is not None:
                    yield event(wire.ending(choice))
        if usage:
            yield event(wire.usage(answer.usage))
        yield b"data: [DONE]\n\n"


async def _with_first(first: bytes, events: AsyncGenerator[bytes, None], asked: str) -> AsyncGenerator[bytes, None]:
    """`events` with the one taken before; an error from here on is an event, since the status is sent."""
    async with aclosing(events):
        yield first
        try:
            with refusing(asked):
                async for line in events:
                    yield line
        except Refusal as refusal:
            yield event(refusal.body)


def make_app(service: Service, access: Access, limits: Limits) -> ASGIApp:
    """The guarded application."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    readable = partial(app.api_route, methods=["GET", "HEAD"])

    @readable("/")
    async def page() -> Response:
        return page_response()

    @readable("/health")
    async def health() -> dict[str, Any]:
        return service.health()

    @readable("/v1/models")
    async def models() -> dict[str, Any]:
        return service.models()

    @readable("/v1/models/{name:path}")
    async def model(name: str) -> Any:
        if not name:  # a slash behind the list
            return service.models()
        service.require_model(name)
        return service.models()["data"][0]

    @app.post(ChatQuestion.PATH)
    async def chat(request: Request) -> Response:
        return await service.answered(read_question(ChatQuestion, await request.body()), request)

    @app.post(TextQuestion.PATH)
    async def completions(request: Request) -> Response:
        return await service.answered(read_question(TextQuestion, await request.body()), request)

    _add_errors(app)
    return Guard(app, access, limits)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return error.response()

    @app.exception_handler(ClientLeft)
    async def left(request: Request, error: ClientLeft) -> Response:
        return Response(status_code=499)

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> Response:
        return _unrouted(request.method, repr(request.scope["path"][:100]), error)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return Refusal(500, "a fault of the server; its log says more").response()


def _unrouted(method: str, path: str, error: HTTPException) -> Response:
    """What no route takes. OPTIONS is answered with the methods alone: no CORS header, so no other site may ask."""
    headers = dict(error.headers or {})
    if error.status_code == 405:
        allowed = sorted({"OPTIONS", *headers.get("Allow", "").split(", ")} - {""})
        headers["Allow"] = ", ".join(allowed)
        if method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        return Refusal(405, f"{path} takes {headers['Allow']}, not {method}").response(headers)
    known = f"/v1/models, {ChatQuestion.PATH}, {TextQuestion.PATH}, /health and / are"
    message = f"nothing is at {path}; {known}" if error.status_code == 404 else str(error.detail)
    return Refusal(error.status_code, message).response(headers)
