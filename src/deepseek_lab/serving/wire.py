"""Answers in OpenAI's shapes: chat completions and completions, whole and in chunks."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from deepseek_lab.serving.answers import Choice, Piece
from deepseek_lab.serving.logprobs import TokenNames


@dataclass(frozen=True)
class Wire:
    """The fields that all chunks of one answer share.

    names: of tokens, where log-probabilities are asked for
    """

    model: str
    chat: bool
    names: TokenNames | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[Choice], pieces: Sequence[Piece], usage: dict[str, object]) -> dict[str, Any]:
        """The answer that is not streamed."""
        filled = [self._choice(choice, said) for choice, said in zip(choices, pieces, strict=True)]
        return {**self._head("chat.completion"), "choices": filled, "usage": usage}

    def opening(self, choice: Choice) -> dict[str, Any]:
        """The first chunk of a chat's response: who speaks."""
        return self._chunk(choice, {"role": "assistant", "content": ""}, None)

    def chunk(self, choice: Choice, piece: Piece) -> dict[str, Any]:
        """What a token added."""
        said = {"reasoning_content": piece.parts.reasoning, "content": piece.parts.answer}
        delta = {name: text for name, text in said.items() if text}
        return self._chunk(choice, delta, None, piece.parts.answer, self._logprobs(piece) if piece.tokens else None)

    def ending(self, choice: Choice) -> dict[str, Any]:
        """The last chunk of a response: why it ended."""
        return self._chunk(choice, {}, choice.finish_reason)

    def usage(self, usage: dict[str, object]) -> dict[str, Any]:
        """The chunk that counts tokens."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage}

    def _head(self, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.chat else "cmpl"
        return {
            "id": f"{prefix}-{self.id}",
            "object": kind if self.chat else "text_completion",
            "created": self.created,
            "model": self.model,
        }

    def _choice(self, choice: Choice, piece: Piece) -> dict[str, Any]:
        parts = piece.parts
        shared = {"index": choice.index, "finish_reason": choice.finish_reason, "logprobs": self._logprobs(piece)}
        if not self.chat:
            return {**shared, "text": parts.answer}
        message: dict[str, Any] = {"role": "assistant", "content": parts.answer}
        if parts.reasoning:
            message["reasoning_content"] = parts.reasoning
        return {**shared, "message": message}

    def _chunk(
        self,
        choice: Choice,
        delta: dict[str, str],
        reason: str | None,
        text: str = "",
        logprobs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        said: dict[str, Any] = {"delta": delta} if self.chat else {"text": text}
        shared = {"index": choice.index, "finish_reason": reason, "logprobs": logprobs}
        return {**self._head("chat.completion.chunk"), "choices": [{**shared, **said}]}

    def _logprobs(self, piece: Piece) -> dict[str, Any] | None:
        if self.names is None:
            return None
        return self.names.of_chat(piece.tokens) if self.chat else self.names.of_completion(piece.tokens)
