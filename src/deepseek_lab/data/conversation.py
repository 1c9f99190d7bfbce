"""Conversations, and their token ids with a mark on what the assistant said.

    <begin> system <User> question <Assistant> answer <end> <User> …        DeepSeek-V3's chat format

The ids are those of `text.chat` and the template of the tokenizer's family (tested): DeepSeek's, or ChatML's. A
rendered text does not tell who said a token, so training data are written turn by turn. Text never spells a control
token. Marked are the assistant's tokens and the end of its turn: what a model that answers must write itself.

A thought kept apart from its answer is written as the family's template writes it: before the last answer, and
nowhere else. What the model is shown of earlier turns has no thoughts either. A thought that the last answer itself
begins with is left as it stands. The tags of both are the tokens of these names where a tokenizer has such.

Left out: templates of other families, tools.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import ConfigError
from deepseek_lab.data.corpus import Corpus, Document
from deepseek_lab.text.plain import PlainText
from deepseek_lab.text.reasoning import CLOSE, OPEN, split_reasoning
from deepseek_lab.text.tokenizer import Tokenizer
from deepseek_lab.text.turn_marks import ASSISTANT, BEGIN_OF_TEXT, USER, marks_for

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """What one side says; `trained`: whether a model learns to say it, where the assistant does."""

    role: Role
    content: str
    reasoning: str = ""
    trained: bool = True


@dataclass(frozen=True)
class Conversation:
    """Turns under a name that decides their split, or `held_out_with` in its place.

    notes: what of its row is not read, and what is read in a way that needs saying
    """

    name: str
    turns: tuple[Turn, ...]
    held_out_with: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def split_name(self) -> str:
        """What decides the split."""
        return self.name if self.held_out_with is None else self.held_out_with

    @property
    def texts(self) -> str:
        """All that is said, line by line."""
        return "\n".join(
            text for turn in self.turns for text in (*([turn.reasoning] if turn.reasoning else []), turn.content)
        )


@dataclass(frozen=True)
class MarkedTokens:
    """(n,) ids of a conversation, and (n,) whether the assistant said them."""

    ids: NDArray[np.int64]
    answer: NDArray[np.bool_]


class ConversationCorpus(Corpus):
    """Conversations; as plain documents (for a tokenizer to learn from) their texts line by line."""

    may_be_cut = False

    @abstractmethod
    def conversations(self) -> Iterator[Conversation]:
        """Every conversation, in the same order at each call. Raises DataError when there is none."""

    @cached_property
    def identity(self) -> str:
        """As that of every corpus, and which answers are not learnt."""
        whole = hashlib.sha256()
        for one in self.conversations():
            unlearnt = [str(place) for place, turn in enumerate(one.turns) if not turn.trained]
            thoughts = [turn.reasoning for turn in one.turns if turn.reasoning]
            for part in (one.name, one.texts, *unlearnt, *thoughts):
                whole.update(hashlib.sha256(part.encode()).digest())
        return whole.hexdigest()

    @cached_property
    def has_thoughts(self) -> bool:
        """Whether answers begin with thoughts, of which `identity` does not tell how they are encoded."""
        return any(begins_with_thought(turn.content) for one in self.conversations() for turn in one.turns)

    def documents(self) -> Iterator[Document]:
        for one in self.conversations():
            yield Document(one.name, one.texts, one.held_out_with)


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
        parts = [part for place, turn in enumerate(turns) for part in self._parts(turn, place == len(turns) - 1)]
        encoded = iter(self._plain.encode_batch([piece for pieces, _ in parts for piece in pieces if _is_text(piece)]))
        ids = self._named(self._marks.begin)
        answer = [False] * len(ids)
        for pieces, said in parts:
            own = [token for piece in pieces for token in (next(encoded) if _is_text(piece) else [piece])]
            ids += own
            answer += [said] * len(own)
        return MarkedTokens(np.array(ids, dtype=np.int64), np.array(answer, dtype=np.bool_))

    def _parts(self, turn: Turn, last: bool) -> list[tuple[list[Any], bool]]:
        """Texts and control tokens of a turn, and whether they are learnt.

        What opens an answer is encoded on its own: it stands in the prompt of one who generates it.
        """
        before, end = (self._named(marks.get(turn.role)) for marks in (self._marks.before, self._marks.end))
        label = self._marks.label.get(turn.role, "")
        if turn.role != "assistant":
            return [([*before, label + turn.content, *end, *self._after], False)]
        said = ([*(self._thought(turn) if last else [answer_alone(turn.content)]), *end], turn.trained)
        return [([*before, label], False), said, (list(self._after), False)]

    def _thought(self, turn: Turn) -> list[Any]:
        """Thought and answer, as the templates have them or as the content has; tags are tokens where these exist."""
        text = turn.content if not turn.reasoning else f"{OPEN}\n{turn.reasoning}\n{CLOSE}\n\n{turn.content}"
        if not begins_with_thought(text) or not {OPEN, CLOSE} <= self._id.keys():
            return [text]
        before, _, rest = text.partition(OPEN)
        if turn.reasoning:
            return [before, self._id[OPEN], f"\n{turn.reasoning}\n", self._id[CLOSE], f"\n\n{turn.content}"]
        inside, _, behind = rest.partition(CLOSE)
        return [before, self._id[OPEN], inside, self._id[CLOSE], behind]

    def _named(self, name: str | None) -> list[int]:
        return [] if name is None else [self._id[name]]


def _is_text(piece: str | int) -> bool:
    return isinstance(piece, str)


def begins_with_thought(content: str) -> bool:
    """Whether what the assistant said is a whole thought and what follows it."""
    return content.lstrip().startswith(OPEN) and CLOSE in content


def answer_alone(content: str) -> str:
    """What the assistant said without the thought that it begins with."""
    return split_reasoning(content).answer if begins_with_thought(content) else content
