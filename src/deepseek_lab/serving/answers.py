"""From a checked question to requests for the engine, and from its tokens to the pieces of an answer."""

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from deepseek_lab.generation import Request, Sampling, Token
from deepseek_lab.serving.engine_thread import EngineThread
from deepseek_lab.serving.limits import Limits
from deepseek_lab.serving.questions import Question
from deepseek_lab.serving.refusals import Refusal
from deepseek_lab.serving.speaker import SAMPLING_KNOBS, Speaker
from deepseek_lab.text.reasoning import Parts
from deepseek_lab.text.response import ResponseText


@dataclass
class Choice:
    """One response while it is written."""

    index: int
    text: ResponseText
    n_tokens: int = 0
    n_reasoning_tokens: int = 0
    finish_reason: str | None = None

    def feed(self, token: Token) -> Parts:
        """What `token` adds to the response; nothing once it has come to its end."""
        if self.finish_reason is not None:
            return Parts()
        self.n_tokens += 1
        self.n_reasoning_tokens += self.text.thinking
        parts = self.text.feed(token.id)
        if self.text.stopped or token.finish_reason is not None:
            self.finish_reason = "stop" if self.text.stopped else token.finish_reason
            parts += self.text.finish()
        return parts


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

    async def pieces(self, thread: EngineThread) -> AsyncGenerator[tuple[Choice, Parts], None]:
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
    n = question.n or 1
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
        )
        for place, prompt in enumerate(prompts)
    ]
    said = (speaker.tokenizer, question.stops, split, thinking, speaker.stop_ids)
    choices = [Choice(index, ResponseText(*said)) for index in range(n * len(prompts))]
    return Answer(prompts, requests, choices)


def _require(condition: bool, problem: str, param: str) -> None:
    if not condition:
        raise Refusal(400, f"{param} {problem}", param)


def _require_stops(question: Question, limits: Limits) -> None:
    _require(len(question.stops) <= limits.stops, f"must hold at most {limits.stops} texts", "stop")
    for stop in question.stops:
        fits = 0 < len(stop) <= limits.stop_characters
        _require(fits, f"must be texts of 1 to {limits.stop_characters} characters", "stop")


def _sampling(question: Question, defaults: Sampling) -> Sampling:
    asked = {name: value for name in SAMPLING_KNOBS if (value := getattr(question, name)) is not None}
    sampling = replace(defaults, **asked)
    try:
        sampling.check()
    except ValueError as error:
        raise Refusal(400, str(error)) from None
    return sampling


def _new_tokens(question: Question, prompt: list[int], speaker: Speaker, limits: Limits) -> int:
    """How many tokens a response may have. Raises Refusal when the model has no room for them."""
    if not prompt:
        raise Refusal(400, "the prompt holds no token", "prompt")
    room, wanted = speaker.room(prompt), question.wanted_tokens
    if wanted is not None:
        _require(wanted <= limits.max_new_tokens, f"must be at most {limits.max_new_tokens}", "max_tokens")
    if room < (wanted or 1):
        raise Refusal(
            400,
            f"the prompt's {len(prompt)} tokens and {wanted or 1} new ones exceed the model's context of "
            f"{speaker.max_seq_len}",
            code="context_length_exceeded",
        )
    return wanted or min(limits.default_new_tokens, limits.max_new_tokens, room)
