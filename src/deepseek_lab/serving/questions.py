"""What a client may ask: OpenAI's fields that this server has, each checked, and nothing else.

A field that is not here is refused by name. Silently ignoring `tools` or `logprobs` would answer another
question than was asked. Left out: tools, images, log-probabilities, `echo`, `suffix`, penalties by frequency.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_Number = Annotated[float, Field(allow_inf_nan=False)]


def _whole_characters(text: str) -> str:
    """Refuses halves of surrogate pairs, which json can spell and no encoding can write."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds half a surrogate pair")
    return text


_Text = Annotated[str, AfterValidator(_whole_characters)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class TextPart(_Strict):
    """A piece of a message."""

    type: Literal["text"]
    text: _Text


class Turn(_Strict):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: _Text | list[TextPart]
    reasoning_content: _Text | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(_Strict):
    """What a stream says besides."""

    include_usage: bool = False


class TextFormat(_Strict):
    """The only format of responses there is."""

    type: Literal["text"]


class TemplateSettings(_Strict):
    """Values for the chat template, under vLLM's name; some templates ask for one name, some for the other."""

    thinking: bool | None = None
    enable_thinking: bool | None = None


class Question(_Strict):
    """What both kinds of requests have in common; `top_k`, `min_p`, `repetition_penalty` as vLLM names them."""

    model: _Text
    max_tokens: int | None = Field(None, ge=1)
    temperature: _Number | None = Field(None, ge=0, le=100)
    top_p: _Number | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=1)
    min_p: _Number | None = Field(None, ge=0, le=1)
    repetition_penalty: _Number | None = Field(None, gt=0, le=100)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = Field(None, ge=1)
    stop: _Text | list[_Text] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    presence_penalty: _Number | None = Field(None, ge=0, le=0)
    frequency_penalty: _Number | None = Field(None, ge=0, le=0)

    @property
    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def wanted_tokens(self) -> int | None:
        """How many tokens at most, where the request says so."""
        return self.max_tokens


class ChatQuestion(Question):
    """POST /v1/chat/completions."""

    messages: list[Turn] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    response_format: TextFormat | None = None
    chat_template_kwargs: TemplateSettings | None = None
    store: Literal[False] | None = None
    metadata: dict[str, Any] | None = None

    @property
    def wanted_tokens(self) -> int | None:
        """OpenAI's newer name, else the older."""
        return self.max_completion_tokens or self.max_tokens


class TextQuestion(Question):
    """POST /v1/completions; a prompt is a text or token ids, or a list of either."""

    prompt: _Text | list[int] | list[_Text] | list[list[int]]

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt apart."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [prompt for prompt in self.prompt if not isinstance(prompt, int)]
