"""How a question is put to a model, and what text its answer is judged as: one rule for all who ask.

Evaluation, rollouts and preflight share it, so that a score in training is a score outside of it. Where the prompt
opens the thought itself (R1's chat template does), the opening goes to whoever judges: the text is then whole.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.text.chat import Chat, Message
from deepseek_lab.text.reasoning import OPEN

QUESTION = "{question}"
_HALF = "\ufffd"
"""What a character shows as of which some bytes are still to come."""


class QuestionPrompt:
    """`QuestionPrompt.Config(...).build()`."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """prompt: what the model is given for `{question}`.

        chat: as the user's turn; thinking: the chat template is asked to open the thought, which some do unasked
        """

        prompt: str = QUESTION
        chat: bool = False
        thinking: bool = False

        def check(self) -> None:
            if QUESTION not in self.prompt:
                raise ConfigError(f"must hold {QUESTION}, not {self.prompt!r}", "prompt")
            if self.thinking and not self.chat:
                raise ConfigError("belongs to a conversation: chat=true", "thinking")

        def build(self) -> "QuestionPrompt":
            return QuestionPrompt(self)

    def __init__(self, config: Config) -> None:
        self.config = config

    def opening(self, chat: Chat) -> str:
        """What of an answer stands in the prompt already. Raises TemplateError."""
        c = self.config
        opened = chat.opens_thought(c.thinking or None) if c.chat else c.prompt.rstrip().endswith(OPEN)
        return OPEN if opened else ""

    def encode(self, chat: Chat, question: str) -> list[int]:
        """The ids that the model goes on from. Raises TemplateError when the chat template refuses them."""
        text = self.config.prompt.replace(QUESTION, question)
        if not self.config.chat:
            return chat.encode_prompt(text)
        return chat.encode([Message(role="user", content=text)], thinking=self.config.thinking or None)

    def judged_text(self, chat: Chat, ids: Sequence[int], stop_ids: Collection[int]) -> str:
        """The answer as tasks read it: without the token that ended it, other control tokens by their names."""
        said = ids[:-1] if ids and ids[-1] in stop_ids else ids
        return self.opening(chat) + chat.tokenizer.decode(said)

    def token_at(self, chat: Chat, ids: Sequence[int], character: int) -> int:
        """Index in `ids` of the token that brings `judged_text` to so many characters; the last where it never does."""
        wanted = character - len(self.opening(chat))

        def reached(i: int) -> int:
            return len(chat.tokenizer.decode(ids[: i + 1]).rstrip(_HALF))

        return min(bisect_left(range(len(ids)), wanted, key=reached), len(ids) - 1)
