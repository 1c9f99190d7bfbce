"""Log-probabilities of a response's tokens, in OpenAI's two shapes.

They are the model's own (`TokenLogprobs`): whatever the temperature, penalties and filters of the request. Tokens of a
stop string are no part of a response. The one that ends it is told of in completions, where evaluation harnesses count
on a last token, and not in chats.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_lab.generation import TokenLogprobs
from deepseek_lab.text.streamed import Detokeniser
from deepseek_lab.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class SaidToken:
    """A token of a response or of an echoed prompt.

    start: characters that were whole before it came. own: None for a prompt's first token, which nothing predicts
    """

    id: int
    start: int
    own: TokenLogprobs | None


class TokenNames:
    """Tokens as texts that tell them apart."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes = tokenizer.bytes_of_token
        self._names = {token: name for name, token in tokenizer.special_ids.items()}

    def spelled(self, token: int) -> tuple[str, list[int] | None]:
        """Its text and bytes, of a control token those of its name. A part of a character is `bytes:\\xe2\\x82`, as
        OpenAI writes it; an id beyond the tokenizer is `token_id:N`, as vLLM writes it."""
        if token in self._names:
            return self._names[token], list(self._names[token].encode())
        if token >= len(self._bytes):
            return f"token_id:{token}", None
        content = self._bytes[token]
        try:
            return content.decode(), list(content)
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content), list(content)

    def of_chat(self, tokens: Sequence[SaidToken]) -> dict[str, Any]:
        """`choices[].logprobs` of a chat completion."""
        listed = []
        for token in tokens:
            if token.own is not None:
                top = [self._entry(*likely) for likely in token.own.top]
                listed.append({**self._entry(token.id, token.own.logprob), "top_logprobs": top})
        return {"content": listed, "refusal": None}

    def of_completion(self, tokens: Sequence[SaidToken]) -> dict[str, Any]:
        """`choices[].logprobs` of a completion: the likeliest and, where it is none of them, the token itself."""
        tops: list[dict[str, float] | None] = []
        for token in tokens:
            pairs = [] if token.own is None else [*token.own.top, (token.id, token.own.logprob)]
            top: dict[str, float] = {}
            for likely, logprob in pairs:
                top.setdefault(self.spelled(likely)[0], logprob)
            tops.append(None if token.own is None else top)
        return {
            "tokens": [self.spelled(token.id)[0] for token in tokens],
            "token_logprobs": [None if token.own is None else token.own.logprob for token in tokens],
            "top_logprobs": tops,
            "text_offset": [token.start for token in tokens],
        }

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        text, content = self.spelled(token)
        return {"token": text, "logprob": logprob, "bytes": content}


@dataclass(frozen=True)
class Echo:
    """A prompt that its responses begin with."""

    text: str
    ids: Sequence[int]
    starts: Sequence[int]

    def tokens(self, own: Sequence[TokenLogprobs]) -> tuple[SaidToken, ...]:
        """Its tokens, where their log-probabilities are known (of all but the first)."""
        known = (None, *own) if len(own) == len(self.ids) - 1 else ()
        return tuple(SaidToken(*one) for one in zip(self.ids, self.starts, known, strict=True)) if known else ()


def echo_of(tokenizer: Tokenizer, ids: Sequence[int], shown: Collection[str]) -> Echo:
    """The text of a prompt and where its tokens begin; of control tokens those named in `shown` are written out."""
    detokeniser = Detokeniser(tokenizer, shown)
    text, starts = "", []
    for token in ids:
        starts.append(len(text))
        text += detokeniser.feed(token)
    return Echo(text + detokeniser.finish(), ids, starts)
