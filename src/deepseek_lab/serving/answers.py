"""From a checked question to requests for the engine, and from its tokens to the pieces of an answer."""

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from deepseek_lab.generation import Request, Sampling, Token
from deepseek_lab.serving.engine_thread import EngineThread
from deepseek_lab.serving.limits import LENGTH, Limits
from deepseek_lab.serving.logprobs import Echo, SaidToken
from deepseek_lab.serving.questions import WHOLE_VOCABULARY, Question
from deepseek_lab.serving.refusals import Refusal
from deepseek_lab.serving.speaker import SAMPLING_KNOBS, Speaker
from deepseek_lab.text.reasoning import Parts
from deepseek_lab.text.response import ResponseText


@dataclass(frozen=True)
class Piece:
    """What a token adds to a response; `tokens` where log-probabilities are asked for."""

    parts: Parts = field(default_factory=Parts)
    tokens: tuple[SaidToken, ...] = ()

    def __add__(self, other: "Piece") -> "Piece":
        return Piece(self.parts + other.parts, self.tokens + other.tokens)

    def __bool__(self) -> bool:
        return self != Piece()


@dataclass
class Choice:
    """One response while it is written.

    echo: the prompt, where the response begins with it; silent: whether nothing follows
    tells_end: whether the token that ends it is among those whose log-probabilities are told
    """

    index: int
    text: ResponseText
    echo: Echo | None = None
    silent: bool = False
    tells_end: bool = False
    n_tokens: int = 0
    n_reasoning_tokens: int = 0
    finish_reason: str | None = None
    _waiting: list[SaidToken] = field(default_factory=list)

    def feed(self, token: Token) -> Piece:
        """What `token` adds to the response; nothing once it has come to its end."""
        if self.finish_reason is not None:
            return Piece()
        before = Piece()
        if self.echo is not None and token.index == 0:
            before = Piece(Parts(answer=self.echo.text), self.echo.tokens(token.prompt_own))
        if self.silent:
            self.finish_reason = "length"
            return before
        return before + self._written(token)

    def _written(self, token: Token) -> Piece:
        self.n_tokens += 1
        self.n_reasoning_tokens += self.text.thinking
        if token.own is not None and (self.tells_end or token.finish_reason != "stop"):
            self._waiting.append(SaidToken(token.id, self._n_echoed + self.text.n_read, token.own))
        parts = self.text.feed(token.id)
        if self.text.stopped or token.finish_reason is not None:
            self.finish_reason = "stop" if self.text.stopped else token.finish_reason
            parts += self.text.finish()
        return Piece(parts, self._shown())

    @property
    def _n_echoed(self) -> int:
        return 0 if self.echo is None else len(self.echo.text)

    def _shown(self) -> tuple[SaidToken, ...]:
        """The tokens that have begun to be shown; at an end without a stop string all."""
        everything = self.finish_reason is not None and not self.text.stopped
        n_kept = self._n_echoed + self.text.n_kept
        n_shown = sum(everything or token.start < n_kept for token in self._waiting)
        shown, self._waiting = self._waiting[:n_shown], self._waiting[n_shown:]
        return tuple(shown)


@dataclass
class Answer:
    """All responses to a question: one for each prompt and sample."""

    prompts: Sequence[list[int]]
    requests: Sequence[Request]
    choices: list[Choice] = field(default_factory=list)

    @property
    def usage(self) -> dict[str, object]:
        """Tokens read and written."""
        read, written = sum(map(len, self.prompts)), sum(choice.n_tokens for choice in self.choices)
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "completion_tokens_details": {"reasoning_tokens": sum(c.n_reasoning_tokens for c in self.choices)},
        }

    async def pieces(self, thread: EngineThread) -> AsyncGenerator[tuple[Choice, Piece], None]:
        """Each token's part of its response; ends, and frees all rows, when every response has ended."""
        n = self.requests[0].n
        async with aclosing(thread.tokens(self.requests)) as stream:
            async for tokens in stream:
                for place, token in tokens:
                    choice = self.choices[place * n + token.sample]
                    if choice.finish_reason is None:
                        yield choice, choice.feed(token)
                if all(choice.finish_reason for choice in self.choices):
                    return


def prepare(
    question: Question,
    prompts: Sequence[list[int]],
    speaker: Speaker,
    limits: Limits,
    defaults: Sampling,
    split: bool,
    thinking: bool = False,
) -> Answer:
    """The requests of a question and its empty responses. Raises Refusal for what exceeds a limit."""
    n = question.n_samples
    _require(n <= limits.n, f"must be at most {limits.n}", "n")
    _require_stops(question, limits)
    sampling = _sampling(question, defaults)
    seed = secrets.randbits(31) if question.seed is None else question.seed
    requests = [
        Request(
            prompt=prompt,
            max_new_tokens=_new_tokens(question, prompt, speaker, limits),
            sampling=sampling,
            stop_ids=speaker.stop_ids,
            seed=seed + place,
            n=n,
            top_logprobs=question.n_logprobs,
            prompt_logprobs=question.echoes,
        )
        for place, prompt in enumerate(prompts)
    ]
    said = (speaker.tokenizer, question.stop, split, thinking, speaker.stop_ids)
    silent = question.length[1] == 0
    texts = [ResponseText(*said) for _ in range(n * len(prompts))]
    choices = [Choice(index, text, silent=silent, tells_end=not split) for index, text in enumerate(texts)]
    return Answer(prompts, requests, choices)


def _require(condition: bool, problem: str, param: str) -> None:
    if not condition:
        raise Refusal(400, f"{param} {problem}", param)


def _require_stops(question: Question, limits: Limits) -> None:
    _require(len(question.stop) <= limits.stops, f"must hold at most {limits.stops} texts", "stop")
    for stop in question.stop:
        fits = 0 < len(stop) <= limits.stop_characters
        _require(fits, f"must be texts of 1 to {limits.stop_characters} characters", "stop")


def _sampling(question: Question, defaults: Sampling) -> Sampling:
    asked = {name: value for name in SAMPLING_KNOBS if (value := getattr(question, name)) is not None}
    if asked.get("top_k") == WHOLE_VOCABULARY:
        asked["top_k"] = None
    sampling = replace(defaults, **asked)
    try:
        sampling.check()
    except ValueError as error:
        raise Refusal(400, str(error)) from None
    return sampling


def _new_tokens(question: Question, prompt: list[int], speaker: Speaker, limits: Limits) -> int:
    """How many tokens a response may have, at least 1. Raises Refusal when the model has no room for them."""
    if not prompt:
        raise Refusal(400, f"{question.ASKED} holds no token", question.ASKED)
    room, (name, wanted) = speaker.room(prompt), question.length
    if wanted is None:
        stated = limits.default_new_tokens or speaker.generation.max_new_tokens or LENGTH
        least, most = 1, min(stated, limits.max_new_tokens, room)
    else:
        _require(wanted <= limits.max_new_tokens, f"must be at most {limits.max_new_tokens}", name)
        least = most = max(1, wanted)
    if room < least:
        problem = f"the {len(prompt)} tokens of {question.ASKED} and {least} new ones exceed the model's context of "
        raise Refusal(400, f"{problem}{speaker.max_seq_len}", question.ASKED, "context_length_exceeded")
    return most
