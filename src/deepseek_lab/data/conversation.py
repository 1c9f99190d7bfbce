"""Conversations, and their token ids with a mark on what the assistant said.

    <begin> system <User> question <Assistant> answer <end> <User> …        DeepSeek-V3's chat format

The ids are those of `text.chat` and its DeepSeek template (tested); a rendered text does not tell who said a token,
so training data are written turn by turn. Text never spells a control token. Marked are the assistant's tokens and
the end of its turn: what a model that answers must write itself.

Left out: templates of other families, tools, thoughts kept apart from the answer.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import ConfigError
from deepseek_lab.data.corpus import Corpus, Document
from deepseek_lab.text.chat import ASSISTANT, BEGIN_OF_TEXT, USER
from deepseek_lab.text.plain import PlainText
from deepseek_lab.text.tokenizer import END_OF_TEXT, Tokenizer

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """What one side says."""

    role: Role
    content: str


@dataclass(frozen=True)
class Conversation:
    """Turns under a name that decides their split, or `held_out_with` in its place."""

    name: str
    turns: tuple[Turn, ...]
    held_out_with: str | None = None


@dataclass(frozen=True)
class MarkedTokens:
    """(n,) ids of a conversation, and (n,) whether the assistant said them."""

    ids: NDArray[np.int64]
    answer: NDArray[np.bool_]


class ConversationCorpus(Corpus):
    """Conversations; as plain documents (for a tokenizer to learn from) their texts line by line."""

    @abstractmethod
    def conversations(self) -> Iterator[Conversation]:
        """Every conversation, in the same order at each call. Raises DataError when there is none."""

    def documents(self) -> Iterator[Document]:
        for one in self.conversations():
            yield Document(one.name, "\n".join(turn.content for turn in one.turns), one.held_out_with)


class ChatFormat:
    """Turns to ids by one tokenizer. Raises ConfigError for a tokenizer without the control tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        for name in (BEGIN_OF_TEXT, USER, ASSISTANT):
            if name not in tokenizer.special_ids:
                raise ConfigError(f"has no token {name}, which conversations need", "tokenizer")
        self._id = tokenizer.special_ids
        self._plain = PlainText(tokenizer)

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Ids up to where the assistant's answer begins."""
        return [*self.encode(turns).ids.tolist(), self._id[ASSISTANT]]

    def encode(self, turns: Sequence[Turn]) -> MarkedTokens:
        """The whole conversation."""
        texts = self._plain.encode_batch([turn.content for turn in turns])
        ids, answer = [self._id[BEGIN_OF_TEXT]], [False]
        for turn, text in zip(turns, texts, strict=True):
            said = turn.role == "assistant"
            before = {"system": [], "user": [self._id[USER]], "assistant": [self._id[ASSISTANT]]}[turn.role]
            spoken = [*text, self._id[END_OF_TEXT]] if said else text
            ids += [*before, *spoken]
            answer += [False] * len(before) + [said] * len(spoken)
        return MarkedTokens(np.array(ids, dtype=np.int64), np.array(answer, dtype=np.bool_))
