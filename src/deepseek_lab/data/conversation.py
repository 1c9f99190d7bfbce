"""Conversations, and their token ids with a mark on what the assistant said.

    <begin> system <User> question <Assistant> answer <end> <User> …        DeepSeek-V3's chat format

The ids are those of `text.chat` and the template of the tokenizer's family (tested): DeepSeek's, or ChatML's. A
rendered text does not tell who said a token, so training data are written turn by turn. Text never spells a control
token. Marked are the assistant's tokens and the end of its turn: what a model that answers must write itself.

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
from deepseek_lab.text.plain import PlainText
from deepseek_lab.text.tokenizer import Tokenizer
from deepseek_lab.text.turn_marks import ASSISTANT, BEGIN_OF_TEXT, USER, marks_for

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
        marks = marks_for(tokenizer.special_ids)
        if marks is None:
            missing = next(
                n for n in (BEGIN_OF_TEXT, USER, ASSISTANT, "<|im_start|>") if n not in tokenizer.special_ids
            )
            raise ConfigError(f"has no token {missing}, which conversations need", "tokenizer")
        self._marks = marks
        self._id = tokenizer.special_ids
        self._plain = PlainText(tokenizer)
        self._after = self._plain.encode(marks.after)

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Ids up to where the assistant's answer begins."""
        label = self._plain.encode(self._marks.label.get("assistant", ""))
        return [*self.encode(turns).ids.tolist(), *self._named(self._marks.before.get("assistant")), *label]

    def encode(self, turns: Sequence[Turn]) -> MarkedTokens:
        """The whole conversation."""
        apart = [text for turn in turns for text in self._apart(turn)]
        encoded = iter(self._plain.encode_batch(apart))
        ids = self._named(self._marks.begin)
        answer = [False] * len(ids)
        for turn in turns:
            opening = [*self._named(self._marks.before.get(turn.role)), *next(encoded)]
            spoken = [*next(encoded), *self._named(self._marks.end.get(turn.role))]
            ids += [*opening, *spoken, *self._after]
            answer += [False] * len(opening) + [turn.role == "assistant"] * len(spoken) + [False] * len(self._after)
        return MarkedTokens(np.array(ids, dtype=np.int64), np.array(answer, dtype=np.bool_))

    def _apart(self, turn: Turn) -> tuple[str, str]:
        """What is encoded on its own: what opens an answer stands in the prompt of one who generates it."""
        label = self._marks.label.get(turn.role, "")
        return (label, turn.content) if turn.role == "assistant" else ("", label + turn.content)

    def _named(self, name: str | None) -> list[int]:
        return [] if name is None else [self._id[name]]
