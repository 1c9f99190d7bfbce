"""The columns of a row of chat data and the messages in them, as turns; whatever is in no turn is refused or noted.

Roles, contents and thoughts are known under the names that OpenAI's, ShareGPT's and Harmony's messages have for them.
A dialogue in one text (`Human: … Assistant: …`) is read as its turns.

Left out: tools, images, and anything else that no chat format of training writes: a row with these is refused.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from deepseek_lab.config import DataError, nearest
from deepseek_lab.data.conversation import Role, Turn, begins_with_thought

_MEDIA = ("images", "image", "videos", "video", "audios", "audio")
_UNWRITABLE = ("tools", "functions", "documents", "chat_template_kwargs", "history", *_MEDIA)
_UNWRITABLE_IN_MESSAGE = ("tool_calls", "function_call", "tool_call_id", *_MEDIA)
_OF_STEPS = ("completions", "labels")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_WEIGHTS = ("weight", "train", "loss")
_ROLES = {**{role: role for role in get_args(Role)}, "human": "user", "gpt": "assistant", "chatgpt": "assistant"}
_TEXT_PARTS = ("text", "input_text", "output_text")
_SIDE = re.compile(r"\n\n(Human|Assistant):")
_SIDES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_NOTHING = ("", "[]", "{}", "null")


@dataclass
class Columns:
    """A row's columns that hold anything, and which of them were read."""

    row: Mapping[str, Any]
    where: str
    read: set[str] = field(default_factory=set)
    said: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.held = {name: value for name, value in self.row.items() if value is not None}
        for name in _UNWRITABLE:
            if name in self.held and not is_empty(self.held[name]):
                raise self.error(f"has '{name}', which no chat format here writes")
        if all(name in self.held for name in _OF_STEPS):
            raise self.error("judges single steps ('completions' with 'labels'), from which no stage here learns")

    def error(self, problem: str) -> DataError:
        """What is wrong with the row, behind its place."""
        verb = problem.startswith(("has ", "judges ", "holds "))
        return DataError(f"{self.where} {problem}" if verb else f"{self.where}: {problem}")

    def take(self, name: str) -> Any:
        """A column's value, from now on read; None for an empty or missing one."""
        self.read.add(name)
        return self.held.get(name)

    def one_of(self, names: Sequence[str]) -> str | None:
        """Which of these columns there is. Raises DataError when there are two."""
        there = [name for name in names if name in self.held]
        if len(there) > 1:
            raise self.error(f"holds both '{there[0]}' and '{there[1]}': only one can be meant")
        return there[0] if there else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not read, in the order of the row, and what else was noted."""
        left = [name for name in self.held if name not in self.read and not is_empty(self.held[name])]
        return (*(f"the column '{name}' is not read" for name in left), *self.said)

    def messages(self, name: str) -> tuple[Turn, ...]:
        """The turns of a column that holds whole dialogues."""
        if isinstance(self.held[name], str) and not dialogue_in(self.held[name]):
            raise self.error(f"has no list '{name}' but a text")
        return self.turns(name, "user")

    def turns(self, name: str, role: Role) -> tuple[Turn, ...]:
        """A column's turns; a text is what `role` says, or a dialogue."""
        value = self.take(name)
        if isinstance(value, str):
            return dialogue_in(value) or (Turn(role, value),)
        messages = [value] if isinstance(value, dict) else value
        if not isinstance(messages, list) or not messages:
            raise self.error(f"'{name}' must be a text or a list of at least one turn")
        return tuple(self._turn(message) for message in messages)

    def _turn(self, message: Any) -> Turn:
        if not isinstance(message, dict):
            raise self.error("a turn needs 'role' and 'content'")
        held = {name: value for name, value in message.items() if value is not None}
        for name, other in (("role", "from"), ("content", "value")):
            if name in held and other in held:
                raise self.error(f"a message has both '{name}' and '{other}': only one can be meant")
        for name in _UNWRITABLE_IN_MESSAGE:
            if not is_empty(held.get(name)):
                raise self.error(f"a message has '{name}', which no chat format here writes")
        role = _role_of(held, self)
        content = _content_of(held, self)
        thought = _thought_of(held, role, self)
        self._note_unread(held)
        return Turn(role, content, thought, _is_trained(held, role, self))

    def note_thoughts(self, turns: Sequence[Turn]) -> None:
        """Says of thoughts before the last answer that no chat format here writes them."""
        if any(turn.reasoning or begins_with_thought(turn.content) for turn in turns[:-1] if turn.role == "assistant"):
            self.said["thoughts of earlier turns are not written, as in the chat format"] = None

    def _note_unread(self, held: Mapping[str, Any]) -> None:
        known = {"role", "from", "content", "value", *_THOUGHTS, *_WEIGHTS}
        left = [name for name, value in held.items() if name not in known and not is_empty(value)]
        self.said |= {f"'{name}' of a message is not read": None for name in left}


def _role_of(held: Mapping[str, Any], columns: Columns) -> Role:
    role: Any = held.get("role", held.get("from"))
    known: Any = _ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        given = f", not {role!r}{nearest(role, _ROLES)}" if isinstance(role, str) else ""
        raise columns.error(f"a message needs a role of {', '.join(get_args(Role))}{given}")
    role_read: Role = known
    return role_read


def _content_of(held: Mapping[str, Any], columns: Columns) -> str:
    """A message's text; parts of text are one text."""
    content = held.get("content", held.get("value"))
    if isinstance(content, list):
        return "".join(_part(part, columns) for part in content)
    if content is None and any(name in held for name in _THOUGHTS):
        return ""
    if not isinstance(content, str):
        raise columns.error("a message needs a text 'content'")
    return content


def _part(part: Any, columns: Columns) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in _TEXT_PARTS or not isinstance(part.get("text"), str):
        raise columns.error(f"a part of a message must be of type text, not {kind!r}")
    text: str = part["text"]
    return text


def _thought_of(held: Mapping[str, Any], role: Role, columns: Columns) -> str:
    name = _filled(held, _THOUGHTS, columns)
    if name is None:
        return ""
    thought = held[name]
    if not isinstance(thought, str):
        raise columns.error(f"'{name}' must be a text")
    if role != "assistant":
        raise columns.error(f"'{name}' belongs to the assistant, not to the {role}")
    return thought


def _filled(held: Mapping[str, Any], names: Sequence[str], columns: Columns) -> str | None:
    """Which of these fields says anything. Raises DataError for two that differ."""
    there = [name for name in names if held.get(name) not in (None, "")]
    if len(there) > 1 and len({str(held[name]) for name in there}) > 1:
        raise columns.error(f"a message has '{there[0]}' and '{there[1]}', which differ")
    return there[0] if there else None


def _is_trained(held: Mapping[str, Any], role: Role, columns: Columns) -> bool:
    """Whether an answer is learnt: one weight of 0 is enough."""
    for name in _WEIGHTS:
        if name in held and held[name] not in (0, 1):
            raise columns.error(f"'{name}' of a message must be 0 or 1, not {held[name]!r}")
    weights = [bool(held[name]) for name in _WEIGHTS if name in held]
    if role != "assistant":
        if any(weights):
            raise columns.error(f"a turn of the {role} has a weight of 1: only the assistant's turns are learnt")
        return True
    return all(weights)


def dialogue_in(text: str) -> tuple[Turn, ...]:
    """The turns of `Human: … Assistant: …` in one text; none for any other text."""
    if not text.lstrip().startswith("Human:") or "\n\nAssistant:" not in text:
        return ()
    _, *pieces = _SIDE.split("\n\n" + text.lstrip())
    return tuple(Turn(_SIDES[side], said.strip()) for side, said in zip(pieces[::2], pieces[1::2], strict=True))


def is_empty(value: Any) -> bool:
    """Nothing at all, also as JSON in a text."""
    return value is None or (isinstance(value, (list, dict)) and not value) or value in _NOTHING
