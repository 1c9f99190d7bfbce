"""What a client may ask: every field of OpenAI's two kinds of requests, each used, or refused where it would count.

A field that this server does not have is accepted at the values that change nothing (`neutral`). Any other value is
refused by name: an answer that ignores `tools` answers another question than was asked. Unknown names are refused
with the nearest right one. Left out: tools, images and sound, `suffix`, penalties by frequency.

The body is read here and not by the framework, so that every error is one line about a field that was sent.
"""

import difflib
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from deepseek_lab.checkpoint.huggingface.plain_json import NotPlainJson, parse
from deepseek_lab.serving.neutral import (
    OF_CHATS,
    OF_COMPLETIONS,
    OF_MESSAGES,
    OF_PARTS,
    OF_STREAM_OPTIONS,
    Neutral,
    Wrong,
    without_neutral,
)
from deepseek_lab.serving.refusals import Refusal

MOST_LOGPROBS = 20
"""The likeliest tokens that are named at a place: OpenAI's own limit."""
WHOLE_VOCABULARY = 0
"""`top_k` without a filter, as vLLM spells it (or -1)."""
_PARTS = 'must be a text or a list of parts like {"type": "text", "text": "…"}'


def _text(value: Any) -> str:
    """Refuses halves of surrogate pairs, which json can spell and no encoding can write."""
    if not isinstance(value, str):
        raise ValueError("must be a text")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("holds half a surrogate pair")
    return value


def _text_or_null(value: Any) -> str | None:
    return None if value is None else _text(value)


def _stops(value: Any) -> list[str]:
    given = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise ValueError("must be a text or a list of texts")
    return [_text(one) for one in given]


def _is_id(value: Any) -> bool:
    return type(value) is int


def _prompts(value: Any) -> list[str | list[int] | None]:
    """One prompt or several, each a text or token ids; null is the beginning of a document."""
    if value is None or isinstance(value, str) or (isinstance(value, list) and value and all(map(_is_id, value))):
        value = [value]
    if isinstance(value, list):
        if all(isinstance(one, str) for one in value):
            return [_text(one) for one in value]
        if value == [None] or all(isinstance(one, list) and all(map(_is_id, one)) for one in value):
            return value
    raise ValueError("must be a text, a list of token ids, or a list of either")


def _content(value: Any) -> str | None:
    """A text, or the texts of parts joined."""
    if isinstance(value, list):
        return "".join(map(_part, value))
    if value is None or isinstance(value, str):
        return _text_or_null(value)
    raise ValueError(_PARTS)


def _part(part: Any) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise ValueError(_PARTS)
    if part["type"] != "text":
        raise ValueError(f"holds a part of type {part['type'][:40]!r}; this server reads texts only")
    for name, value in without_neutral(part, OF_PARTS).items():
        if name not in ("type", "text") and value is not None:
            raise ValueError(f"holds a part with {name[:40]!r}, which this server does not read")
    if not isinstance(part.get("text"), str):
        raise ValueError(_PARTS)
    return _text(part["text"])


def _whole_vocabulary(value: Any) -> Any:
    return WHOLE_VOCABULARY if _is_id(value) and value == -1 else value


def _null_if_false(value: Any) -> Any:
    return None if value is False else value


def _no_effort(value: Any) -> Any:
    if value not in (None, "none"):
        raise ValueError("can only be 'none'; chat_template_kwargs={\"thinking\": true} asks for a thought")
    return value


_Number = Annotated[float, Field(allow_inf_nan=False)]
_Text = Annotated[str, BeforeValidator(_text)]
_NLogprobs = Annotated[int | None, Field(ge=0, le=MOST_LOGPROBS)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
    NEUTRAL: ClassVar[Neutral] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_neutral(cls, values: Any) -> Any:
        """What is null is not set, whatever its name: newer clients bring fields of their own."""
        if isinstance(values, dict):
            values = {name: value for name, value in values.items() if value is not None or name in cls.model_fields}
        return without_neutral(values, cls.NEUTRAL)


class Turn(_Strict):
    """One message; the `message.model_dump()` of an answer is one."""

    NEUTRAL: ClassVar[Neutral] = OF_MESSAGES

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str | None, BeforeValidator(_content)] = None
    reasoning_content: Annotated[str | None, BeforeValidator(_text_or_null)] = None
    name: Annotated[str | None, BeforeValidator(_text_or_null)] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise Wrong("content", _PARTS)
        return self

    @property
    def text(self) -> str:
        """The content; null is nothing."""
        return "" if self.content is None else self.content


class StreamOptions(_Strict):
    """What a stream says besides."""

    NEUTRAL: ClassVar[Neutral] = OF_STREAM_OPTIONS

    include_usage: bool | None = None


class TemplateSettings(_Strict):
    """Values for the chat template, under vLLM's name; some templates ask for one name, some for the other."""

    thinking: bool | None = None
    enable_thinking: bool | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if None not in (self.thinking, self.enable_thinking) and self.thinking != self.enable_thinking:
            raise Wrong("enable_thinking", "says another thing than thinking")
        return self


class Question(_Strict):
    """What both kinds of requests have in common; `top_k`, `min_p`, `repetition_penalty` as vLLM names them."""

    PATH: ClassVar[str]
    ASKED: ClassVar[str]
    """The field that the prompt comes from."""

    model: _Text
    max_tokens: int | None = Field(None, ge=1)
    temperature: _Number | None = Field(None, ge=0, le=100)
    top_p: _Number | None = Field(None, gt=0, le=1)
    top_k: Annotated[int | None, BeforeValidator(_whole_vocabulary)] = Field(None, ge=0)
    min_p: _Number | None = Field(None, ge=0, le=1)
    repetition_penalty: _Number | None = Field(None, gt=0, le=100)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = Field(None, ge=1)
    stop: Annotated[list[str], BeforeValidator(_stops)] = Field(default_factory=list)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def n_samples(self) -> int:
        """Responses to one prompt."""
        return 1 if self.n is None else self.n

    @property
    def length(self) -> tuple[str, int | None]:
        """How many tokens at most, where the request says so, and the field that says it."""
        return "max_tokens", self.max_tokens

    @property
    @abstractmethod
    def n_logprobs(self) -> int | None:
        """How many of the likeliest tokens are named at each place; None where nothing is."""

    @property
    def echoes(self) -> bool:
        """Whether a response begins with its prompt."""
        return False

    @property
    def usage_streamed(self) -> bool:
        """Whether a stream counts its tokens at the end."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


Q = TypeVar("Q", bound=Question)


class ChatQuestion(Question):
    """POST /v1/chat/completions."""

    NEUTRAL: ClassVar[Neutral] = OF_CHATS
    PATH: ClassVar[str] = "/v1/chat/completions"
    ASKED: ClassVar[str] = "messages"

    messages: list[Turn] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: _NLogprobs = None
    reasoning_effort: Annotated[str | None, BeforeValidator(_no_effort)] = None
    chat_template_kwargs: TemplateSettings | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise Wrong("top_logprobs", "needs logprobs=true")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise Wrong("max_tokens", f"is {self.max_tokens}, but max_completion_tokens {self.max_completion_tokens}")
        if self.reasoning_effort is not None and self.thinking:
            raise Wrong("reasoning_effort", "is 'none', but chat_template_kwargs ask for a thought")
        return self

    @property
    def thinking(self) -> bool | None:
        """What the template is told of a thought; None where nothing is asked."""
        given = self.chat_template_kwargs or TemplateSettings()
        if given.thinking is not None:
            return given.thinking
        if given.enable_thinking is not None:
            return given.enable_thinking
        return None if self.reasoning_effort is None else False

    @property
    def n_logprobs(self) -> int | None:
        """`top_logprobs`, where `logprobs` asks for any."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def length(self) -> tuple[str, int | None]:
        """By OpenAI's newer name, else the older."""
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return "max_tokens", self.max_tokens


class TextQuestion(Question):
    """POST /v1/completions; a prompt is a text or token ids, or a list of either."""

    NEUTRAL: ClassVar[Neutral] = OF_COMPLETIONS
    PATH: ClassVar[str] = "/v1/completions"
    ASKED: ClassVar[str] = "prompt"

    prompt: Annotated[list[str | list[int] | None], BeforeValidator(_prompts)]
    max_tokens: int | None = Field(None, ge=0)
    best_of: int | None = None
    echo: bool | None = None
    logprobs: Annotated[_NLogprobs, BeforeValidator(_null_if_false)] = None

    @model_validator(mode="after")
    def _asks_for_all(self) -> Self:
        if self.best_of not in (None, self.n_samples):
            raise Wrong("best_of", f"must be n={self.n_samples}: this server gives all responses that it makes")
        if self.max_tokens == 0 and not self.echo:
            raise Wrong("max_tokens", "must be at least 1, or 0 with echo=true")
        return self

    @property
    def echoes(self) -> bool:
        return bool(self.echo)

    @property
    def n_logprobs(self) -> int | None:
        """As many as `logprobs` says."""
        return self.logprobs


def read_question(kind: type[Q], body: bytes) -> Q:
    """The question in a body. Raises Refusal, which names the field, for what is none."""
    if not body.strip():
        raise Refusal(400, "the body is empty; it must be a JSON object")
    try:
        values = parse(body)
    except NotPlainJson as error:
        raise Refusal(400, f"the body cannot be read: {error}; it must be a JSON object in UTF-8") from None
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _refusal(kind, values, error) from None


def _other(kind: type[Question]) -> type[Question]:
    return TextQuestion if kind is ChatQuestion else ChatQuestion


_PROBLEMS = {
    "missing": "is missing",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be a text",
    "string_unicode": "has a field whose name holds half a surrogate pair",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "too_short": "must hold at least {min_length}",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}


def _refusal(kind: type[Question], values: dict[str, Any], error: ValidationError) -> Refusal:
    """The first thing that is wrong; an unknown name before all else, since it may be why another is missing."""
    found = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    place, context = list(found["loc"]), found.get("ctx", {})
    if isinstance(context.get("error"), Wrong):
        place.append(context["error"].name)
    param = _spelled(place) or "the body"
    if found["type"] == "extra_forbidden":
        return Refusal(400, f"{param} {_unknown(kind, values, [str(part) for part in place])}", param)
    problem = _PROBLEMS.get(found["type"], "has a value that it cannot have")
    return Refusal(400, f"{param} {problem.format(**context)}", param)


def _spelled(place: list[int | str]) -> str:
    """`messages[0].content`."""
    spelled = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")[:100]
    return spelled if spelled.isprintable() else ascii(spelled)[1:-1]


def _unknown(kind: type[Question], values: dict[str, Any], place: list[str]) -> str:
    """What is said of a name that an object cannot have: whose it is, or which was meant."""
    name = place[-1]
    if len(place) == 1:
        if name in _other(kind).model_fields:
            return f"is no field of {kind.PATH}, but of {_other(kind).PATH}"
        known = {*kind.model_fields, *kind.NEUTRAL} - values.keys()
    else:
        inner: dict[str, type[_Strict]] = {"messages": Turn, "stream_options": StreamOptions}
        of = inner.get(place[0], TemplateSettings)
        known = {*of.model_fields, *of.NEUTRAL}
    close = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.75)
    return "is no field of this server" + (f"; did you mean '{close[0]}'?" if close else "")
